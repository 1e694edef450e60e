"""Whether detectron2 is here, which one, and how it is installed where it is not."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from dataclasses import dataclass
from importlib import metadata

from organoseg.models.protocol import AbsentPart

MANUAL = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"
#: detectron2 is on no package registry: it is built from its source, against the torch that is there already.
INSTALL = (
    "Install torch and torchvision of one pair first, then: pip install --no-build-isolation "
    f"'git+https://github.com/facebookresearch/detectron2.git'  (its manual: {MANUAL})"
)


@dataclass(frozen=True)
class Presence:
    """What was found. ``problem`` says why it cannot be used, None where it can.

    ``compiled``: whether its own C++ operators are built. Mask R-CNN and all that organoseg uses of it does
    without them; ``cuda``: the CUDA version they were built with, if any.
    """

    version: str | None
    torch: str
    torchvision: str | None
    compiled: bool = False
    cuda: str | None = None
    problem: str | None = None


def is_there() -> bool:
    """Whether there is a package of this name; it is not imported."""
    return importlib.util.find_spec("detectron2") is not None


def look() -> Presence:
    """Import what is there and say what it is; never raises."""
    import torch

    vision = _version("torchvision")
    if not is_there():
        return Presence(None, torch.__version__, vision, problem="detectron2 is not there")
    # What torch says of functions that detectron2 still uses is not for the users of either.
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torchvision.ops")
            package = importlib.import_module("detectron2")
            importlib.import_module("detectron2.modeling")
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        version = _version("detectron2")
        return Presence(version, torch.__version__, vision, problem=f"it fails to import: {error}")
    compiled, cuda = _operators()
    return Presence(str(package.__version__), torch.__version__, vision, compiled, cuda)


def _operators() -> tuple[bool, str | None]:
    try:
        operators = importlib.import_module("detectron2._C")
    except (ImportError, OSError):
        return False, None
    words = str(operators.get_cuda_version()) if operators.has_cuda() else ""
    return True, words or None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def require() -> None:
    """Make sure that detectron2 can be used.

    Raises
    ------
    AbsentPart
        It is absent, or it does not go with the torch that is here; the remedy says how it is installed.
    """
    found = look()
    if found.problem is not None:
        what = f"the engine detectron2 cannot be used: {found.problem}"
        raise AbsentPart(what, where="model.engine", remedy=INSTALL)
