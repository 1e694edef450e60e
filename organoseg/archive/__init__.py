"""The unlabelled archive: images in zarr with checksums, or a plain folder, for training."""

from organoseg.archive.create import create_archive, create_archive_from_images
from organoseg.archive.entry import Entry
from organoseg.archive.folder import FolderArchive
from organoseg.archive.store import Archive

__all__ = [
    "Archive",
    "Entry",
    "FolderArchive",
    "create_archive",
    "create_archive_from_images",
]
