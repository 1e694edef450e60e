"""Networks so small that a test builds its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from organoseg.models.registry import build_engine

SMALL = {"width": 32, "box_width": 64, "anchors": (12, 24, 48, 80, 120), "norm": "GN"}


def small(
    architecture: str = "mask_rcnn_R_18_FPN", classes: Sequence[int] = (1,), **options: Any
) -> Any:
    """A fresh engine, of one class where nothing else is said."""
    chosen = {**SMALL, "architecture": architecture, **options}
    return build_engine("detectron2", tuple(classes), chosen, None)
