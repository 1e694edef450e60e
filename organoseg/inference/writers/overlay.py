"""The picture with outlines and numbers: the numbers are those of the table."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask, write_bytes
from organoseg.inference.result import Result
from organoseg.inference.writers.placing import place

Colour = tuple[int, int, int]
Rgb = NDArray[np.uint8]

#: Bright on grey, and told apart by people who see red and green alike.
PALETTE: tuple[Colour, ...] = (
    (86, 190, 255),
    (255, 176, 0),
    (0, 214, 150),
    (255, 112, 146),
    (250, 232, 70),
    (196, 150, 255),
    (255, 132, 60),
    (120, 235, 235),
)
#: An overlay is enlarged until its longer side has about this many px, or its organoids room for a number.
_SIDE = 1000
_LARGEST_SIDE = 4200
_LARGEST_ZOOM = 6
#: What a typical organoid should measure on the canvas, in px, for its number to be read beside those of others.
_ROOM = 48
_THUMBNAIL = 640
_DARK: Colour = (40, 40, 40)
# How far an organoid's number may be seen from: neighbours within this many px of each other get unlike colours.
_NEAR = 6


def write_overlay(path: Path, result: Result) -> None:
    """Write the overlay as PNG, atomically; see `overlay`."""
    from PIL import Image as Picture

    # Of 256 colours, which are enough for greys and outlines: a third of the time and a quarter of the bytes.
    few = Picture.fromarray(overlay(result)).quantize(
        256, method=Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE
    )
    data = io.BytesIO()
    few.save(data, "png", compress_level=1)
    write_bytes(path, data.getvalue())


def thumbnail(result: Result) -> bytes:
    """The picture with its outlines, without numbers, as a JPEG of at most 640 px a side."""
    shape = result.image.shape
    size = _fitted(shape, min(_THUMBNAIL, max(shape)))
    canvas = _shrunk(_grey(result.image.plane()), size)
    return _jpeg(_with_outlines(canvas, result.instances, size[0] / shape[0], size[1] / shape[1]))


def overlay(result: Result) -> Rgb:
    """The picture in grey, enlarged by a whole factor where it is small, with outlines and numbers: uint8 (H, W, 3).

    Each organoid has an outline in a colour unlike its neighbours', and its number in that colour.
    """
    found = result.instances
    zoom = _zoom(found)
    canvas = _enlarged(_grey(result.image.plane()), zoom)
    drawn = _with_outlines(canvas, found, zoom, zoom)
    _number(drawn, found, zoom)
    return np.asarray(drawn)


def _zoom(found: Instances) -> int:
    longest = max(found.shape)
    zoom = max(1, round(_SIDE / longest))
    if len(found):
        zoom = max(zoom, math.ceil(_ROOM / math.sqrt(float(np.median(found.areas)))))
    return max(1, min(zoom, _LARGEST_ZOOM, _LARGEST_SIDE // longest))


def _grey(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W) stretched for the eye: the darkest and brightest .3 % of the pixels are clipped."""
    # A sample of at least a million pixels says as much as all, and a large image is not copied.
    step = max(1, math.isqrt(pixels.size // 1_000_000))
    low, high = np.percentile(pixels[::step, ::step].astype(np.float32), [0.3, 99.7])
    if not high > low:
        return np.full(pixels.shape, 128, np.uint8)
    shown = np.empty(pixels.shape, np.uint8)
    for y in range(0, len(pixels), 512):
        strip = (pixels[y : y + 512].astype(np.float32) - low) * (255 / (high - low))
        shown[y : y + 512] = np.clip(strip, 0, 255).astype(np.uint8)
    return shown


def _enlarged(pixels: NDArray[np.uint8], zoom: int) -> NDArray[np.uint8]:
    from PIL import Image as Picture

    if zoom == 1:
        return pixels
    picture = Picture.fromarray(pixels)
    size = (picture.width * zoom, picture.height * zoom)
    return np.asarray(picture.resize(size, Picture.Resampling.BICUBIC))


def _shrunk(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image as Picture

    if pixels.shape == size:
        return pixels
    return np.asarray(Picture.fromarray(pixels).resize(size[::-1], Picture.Resampling.BOX))


def _fitted(shape: tuple[int, int], side: int) -> tuple[int, int]:
    factor = side / max(shape)
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def colours_of(found: Instances) -> list[Colour]:
    """A colour an organoid, unlike those of the ones beside it as long as there are enough."""
    boxes = found.boxes.astype(np.int64) + np.array([-_NEAR, -_NEAR, _NEAR, _NEAR])
    cell = max(16, int(np.median(boxes[:, 2:] - boxes[:, :2]))) if len(found) else 16
    colour_at: dict[tuple[int, int], set[int]] = {}
    chosen = []
    for index, (y0, x0, y1, x1) in enumerate((boxes // cell).tolist()):
        cells = [(y, x) for y in range(y0, y1 + 1) for x in range(x0, x1 + 1)]
        near = [spot for spot in cells if spot in colour_at]
        turn = [(int(found.ids[index]) + step) % len(PALETTE) for step in range(len(PALETTE))]
        pick = min(turn, key=lambda colour: sum(colour in colour_at[spot] for spot in near))
        for spot in cells:
            colour_at.setdefault(spot, set()).add(pick)
        chosen.append(PALETTE[pick])
    return chosen


def _with_outlines(pixels: NDArray[np.uint8], found: Instances, high: float, wide: float) -> Any:
    """A Pillow picture: ``pixels`` (H, W) with outlines enlarged by ``high`` and ``wide``."""
    from PIL import Image as Picture
    from PIL import ImageDraw

    picture = Picture.fromarray(pixels).convert("RGB")
    draw = ImageDraw.Draw(picture)
    colours = colours_of(found)
    width = 1 if high < 1 else _line_width(found, high)
    # Large ones first, so that a small organoid on a large one stays visible.
    for index in np.argsort(-found.areas, kind="stable").tolist():
        for line in _lines(found.masks[index]):
            points = [(x * wide, y * high) for y, x in line.tolist()]
            if high >= 1:  # a dark edge: pale lines are lost on light ground
                draw.line(points, fill=_DARK, width=width + 2, joint="curve")
            draw.line(points, fill=colours[index], width=width, joint="curve")
    return picture


def _line_width(found: Instances, zoom: float) -> int:
    typical = math.sqrt(float(np.median(found.areas))) * zoom if len(found) else 0
    return round(max(2, min(max(found.shape) * zoom / 480, typical / 22)))


def _lines(mask: Mask) -> list[NDArray[np.float64]]:
    """Closed lines (N, 2) of (y, x) around a mask, without the stairs of its pixels."""
    from skimage.measure import find_contours

    lines = find_contours(np.pad(mask.bits, 1).astype(np.float32), 0.5)
    # Values of the padded box are at pixel centres: by one less for the padding, by half more for the centre.
    corner = np.array([mask.y - 0.5, mask.x - 0.5])
    return [_smooth(line) + corner for line in lines]


def _smooth(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed line, its points moved towards the mean of their neighbours by less than half a pixel."""
    points = line[:-1]
    if len(points) < 16:
        return line
    steps = ((-2, 1), (-1, 2), (0, 3), (1, 2), (2, 1))
    mean = np.sum([weight * np.roll(points, step, axis=0) for step, weight in steps], axis=0) / 9
    return np.concatenate([mean, mean[:1]])


def _number(picture: Any, found: Instances, zoom: int) -> None:
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=_font_size(found, zoom))
    texts = [str(number) for number in found.ids.tolist()]
    sizes = []
    for text in texts:
        left, top, right, bottom = draw.textbbox(
            (0, 0), text, font=font, anchor="mm", stroke_width=1
        )
        # Digits do not stand in the middle of their line.
        sizes.append((2 * max(bottom, -top), right - left))
    colours = colours_of(found)
    labels = place(found, zoom, sizes)
    for label in labels:
        if label.target is not None:
            ends = [(label.x, label.y), (label.target[1], label.target[0])]
            draw.line(ends, fill=_DARK, width=4)
            draw.line(ends, fill=colours[label.index], width=2)
    for label in labels:
        draw.text(
            (label.x, label.y), texts[label.index], fill=_light(colours[label.index]), font=font,
            anchor="mm", stroke_width=2, stroke_fill=(0, 0, 0),
        )  # fmt: skip


def _font_size(found: Instances, zoom: int) -> int:
    """Large enough when the whole canvas is on a screen, but not larger than organoids have room for."""
    wanted = max(found.shape) * zoom / 64
    typical = math.sqrt(float(np.median(found.areas))) * zoom if len(found) else wanted
    return round(max(14, min(wanted, typical / 2.6)))


def _light(colour: Colour) -> Colour:
    """Nearer to white, which reads better in thin strokes."""
    red, green, blue = ((value + 255) // 2 for value in colour)
    return red, green, blue


def _jpeg(picture: Any) -> bytes:
    buffer = io.BytesIO()
    # Full colour resolution, as thin coloured lines would smear without it.
    picture.save(buffer, "JPEG", quality=82, subsampling=0, optimize=True)
    return buffer.getvalue()
