"""Organoid segmentation from a handful of labels and a large unlabelled archive.

``import organoseg`` is light: the names below are loaded when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from organoseg.core import Image as Image
    from organoseg.core import Instances as Instances
    from organoseg.io import read_image as read_image

__version__ = "0.1.0"

_HOMES = {
    "Image": "organoseg.core",
    "Instances": "organoseg.core",
    "read_image": "organoseg.io",
    "load_model": "organoseg.inference.api",
    "predict": "organoseg.inference.api",
}

__all__ = ["Image", "Instances", "__version__", "load_model", "predict", "read_image"]


def __getattr__(name: str) -> Any:
    """Load a public name from the room that owns it (AttributeError when there is none)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'organoseg' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
