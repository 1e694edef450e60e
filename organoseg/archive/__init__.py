"""The unlabelled archive: images in zarr with checksums, or a plain folder, for training."""

from organoseg.archive.create import create_archive, create_archive_from_images
from organoseg.archive.entry import Entry, UnlabelledSource
from organoseg.archive.folder import FolderArchive, open_unlabelled
from organoseg.archive.store import Archive

__all__ = [
    "Archive",
    "Entry",
    "FolderArchive",
    "UnlabelledSource",
    "create_archive",
    "create_archive_from_images",
    "open_unlabelled",
]
