"""Outlines of organoids drawn over their image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask

Colour = tuple[int, int, int]
Rgb = NDArray[np.uint8]

# Bright on grey, each unlike its neighbours in the list.
PALETTE: tuple[Colour, ...] = (
    (255, 99, 71),
    (64, 200, 255),
    (255, 214, 10),
    (124, 252, 120),
    (240, 128, 255),
    (255, 160, 60),
    (100, 140, 255),
    (0, 230, 190),
    (255, 120, 170),
    (190, 235, 60),
)
_OVERLAP_TINT = np.array([200, 60, 255], np.float32)
_OVERLAP_SHARE = 0.24


def grey(pixels: NDArray[Any]) -> Rgb:
    """One plane (H, W) of any dtype stretched for the eye (darkest and brightest 0.5 % clipped).

    Returns uint8 (H, W, 3). A constant or unreadable (NaN) stretch gives mid-grey.
    """
    values = pixels.astype(np.float32)
    low, high = np.nanpercentile(values, [0.5, 99.5])
    if not high > low:
        return np.full((*pixels.shape, 3), 128, np.uint8)
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1) * 255
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)


def overlay(
    pixels: NDArray[Any],
    instances: Instances,
    *,
    zoom: int = 1,
    colours: Sequence[Colour] | None = None,
    dashed: Sequence[bool] | None = None,
    labels: bool = False,
) -> Rgb:
    """The image (H, W) in grey with each organoid's outline: uint8 (H * zoom, W * zoom, 3).

    colours: one for each organoid (the palette in turn when None); dashed: which outlines are
    broken lines; labels: write id and score at each organoid. Where masks overlap, the shared
    part is tinted. `instances` may be of the image's shape only (ValueError).
    """
    if instances.shape != pixels.shape:
        raise ValueError(f"Organoids of {instances.shape} over an image of {pixels.shape}")
    canvas = grey(pixels).repeat(zoom, axis=0).repeat(zoom, axis=1)
    chosen = colours or [PALETTE[i % len(PALETTE)] for i in range(len(instances))]
    broken = dashed or [False] * len(instances)
    _tint_overlaps(canvas, instances, zoom)
    # Large ones first, so that a small organoid on a large one stays visible.
    for index in np.argsort(-instances.areas, kind="stable").tolist():
        _outline(canvas, instances.masks[index], zoom, chosen[index], broken[index])
    return _with_labels(canvas, instances, zoom, chosen) if labels else canvas


def _tint_overlaps(canvas: Rgb, instances: Instances, zoom: int) -> None:
    from organoseg.core.overlap import coverage

    shared = coverage(instances.shape, instances.masks) > 1
    shared = shared.repeat(zoom, axis=0).repeat(zoom, axis=1)
    mixed = canvas[shared] * (1 - _OVERLAP_SHARE) + _OVERLAP_TINT * _OVERLAP_SHARE
    canvas[shared] = mixed.astype(np.uint8)


def _outline(canvas: Rgb, mask: Mask, zoom: int, colour: Colour, dashed: bool) -> None:
    """Paint the border pixels of one mask, a little over a pixel of the canvas wide."""
    bits = mask.bits.repeat(zoom, axis=0).repeat(zoom, axis=1)
    inner = bits
    for _ in range(1 if zoom == 1 else 2):
        inner = _eroded(inner)
    border = bits & ~inner
    if dashed:
        rows, columns = np.ogrid[: border.shape[0], : border.shape[1]]
        border = border & ((rows + columns) // 5 % 2 == 0)
    y0, x0, y1, x1 = (edge * zoom for edge in mask.box)
    canvas[y0:y1, x0:x1][border] = colour


def _eroded(bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(bits, 1)
    inner: NDArray[np.bool_] = (
        bits & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    )
    return inner


def _with_labels(canvas: Rgb, instances: Instances, zoom: int, colours: Sequence[Colour]) -> Rgb:
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    picture = Picture.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=12)
    rows = zip(instances.masks, instances.ids, instances.scores, colours, strict=True)
    for mask, number, score, colour in rows:
        y, x = mask.centroid
        place = (x * zoom, y * zoom)
        text = f"{int(number)} {float(score):.2f}"
        draw.text(
            place, text, fill=colour, font=font, anchor="mm", stroke_width=1, stroke_fill="black"
        )
    return np.asarray(picture)
