"""The same organoid over the frames of a series: links, fates and growth."""
