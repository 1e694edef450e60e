"""The values every room speaks: Image, Instances, errors, hashes and atomic file writes."""

from organoseg.core.errors import (
    DataError,
    MissingPartError,
    OrganosegError,
    RunError,
    UsageError,
)
from organoseg.core.files import atomic_write, read_json, write_bytes, write_json, write_text
from organoseg.core.hashing import file_hash, pixel_hash
from organoseg.core.image import Image
from organoseg.core.instances import Instances
from organoseg.core.intensity import Intensity, normalised
from organoseg.core.mask import Mask
from organoseg.core.voting import vote

__all__ = [
    "DataError",
    "Image",
    "Instances",
    "Intensity",
    "Mask",
    "MissingPartError",
    "OrganosegError",
    "RunError",
    "UsageError",
    "atomic_write",
    "file_hash",
    "normalised",
    "pixel_hash",
    "read_json",
    "vote",
    "write_bytes",
    "write_json",
    "write_text",
]
