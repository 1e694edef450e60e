"""Masks as COCO run lengths and polygons, and back.

The run lengths are read and written here, in a mask's box alone: the usual route over a full image
costs seconds for the thousands of organoids of one plate scan, and trusts its input.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core.errors import DataError
from organoseg.core.mask import Mask

Rle = Mapping[str, Any]


def mask_to_counts(mask: Mask, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Run lengths of the mask in an image of `shape`, column by column, beginning with zeros."""
    height, width = shape
    columns, rows = mask.bits.T.shape
    padded = np.zeros((columns, rows + 2), np.int8)
    padded[:, 1:-1] = mask.bits.T
    step = np.diff(padded, axis=1)
    column, row = np.nonzero(step)
    edges = (column + mask.x) * height + row + mask.y
    # A run that reaches the bottom goes on at the top of the next column: drop both edges.
    same = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, np.concatenate([same, same + 1]))
    counts = np.diff(np.concatenate([[0], edges, [height * width]]))
    return counts[:-1] if counts[-1] == 0 else counts


def counts_to_mask(counts: NDArray[np.int64], shape: tuple[int, int]) -> Mask | None:
    """The mask of run lengths; None when it has no pixel; DataError when they do not fit."""
    height, width = shape
    if (counts < 0).any() or (counts > height * width).any() or counts.sum() != height * width:
        raise DataError(
            f"The run lengths of a mask do not add up to the {height} x {width} image",
            remedy="The annotation may belong to another image or be damaged",
        )
    ends = np.cumsum(counts)
    starts, stops = (ends - counts)[1::2], ends[1::2]
    some = stops > starts
    starts, stops = starts[some], stops[some]
    if starts.size == 0:
        return None
    left, right = int(starts[0]) // height, (int(stops[-1]) - 1) // height + 1
    columns, top, bottom = starts // height, 0, height
    tops, bottoms = starts - columns * height, stops - columns * height
    if bottoms.max() <= height:
        # No run goes on in the next column: the rows in between are all that is drawn, which for an
        # organoid on a plate scan is a hundredth of its columns.
        top, bottom = int(tops.min()), int(bottoms.max())
    change = np.zeros((right - left) * (bottom - top) + 1, np.int8)
    corner = (columns - left) * (bottom - top) - top
    # Touching runs write to one cell, so add and subtract rather than assign.
    change[corner + tops] += 1
    change[corner + bottoms] -= 1
    bits = np.cumsum(change[:-1], dtype=np.int8).view(np.bool_)
    return Mask.from_bits(bits.reshape(right - left, bottom - top).T, top, left)


def unpack_counts(text: str | bytes) -> NDArray[np.int64]:
    """Run lengths of COCO's compressed string; DataError when it is not one."""
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise DataError("The run lengths of a mask are not a COCO string") from error
    digits = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    if digits.size == 0:
        return np.zeros(0, np.int64)
    last = (digits & 32) == 0
    first = np.concatenate([[0], np.flatnonzero(last[:-1]) + 1])
    length = np.diff(np.concatenate([first, [digits.size]]))
    if digits.min() < 0 or digits.max() > 63 or not last[-1] or length.max() > 12:
        raise DataError("The run lengths of a mask are not a COCO string")
    place = np.arange(digits.size) - np.repeat(first, length)
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    # The highest of a number's last five bits is its sign.
    negative = (digits[last] & 16) != 0
    values[negative] -= np.left_shift(1, 5 * length[negative])
    # From the fourth number on, each is the difference to the one two before.
    for parity in (1, 2):
        values[parity::2] = np.cumsum(values[parity::2])
    return values


def rle_to_mask(rle: Rle, shape: tuple[int, int]) -> Mask | None:
    """The mask of a COCO run-length dict, compressed or not; None when empty.

    DataError when its size is not `shape` or its counts are damaged.
    """
    try:
        size, counts = tuple(rle["size"]), rle["counts"]
    except (KeyError, TypeError) as error:
        raise DataError("A run-length mask needs 'size' and 'counts'") from error
    if size != tuple(shape):
        raise DataError(f"A mask of size {size} does not fit the image of {tuple(shape)}")
    if isinstance(counts, str | bytes):
        return counts_to_mask(unpack_counts(counts), shape)
    try:
        plain = np.asarray(counts, dtype=np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError("The run lengths of a mask are not whole numbers") from error
    if plain.ndim != 1:
        raise DataError("The run lengths of a mask are not a flat list")
    return counts_to_mask(plain, shape)


def mask_to_rle(mask: Mask, shape: tuple[int, int]) -> dict[str, Any]:
    """COCO's compressed form: {"size": [H, W], "counts": str}, ready for JSON."""
    from pycocotools import mask as coco

    counts = mask_to_counts(mask, shape).tolist()
    packed = coco.frPyObjects({"size": list(shape), "counts": counts}, *shape)
    return {"size": [int(shape[0]), int(shape[1])], "counts": packed["counts"].decode("ascii")}


def polygons_to_mask(polygons: Sequence[Sequence[float]], shape: tuple[int, int]) -> Mask | None:
    """The union of flat COCO polygons [x0, y0, x1, y1, ...] as COCO rasterises them.

    None when no pixel is inside. DataError on fewer than three points, coordinates that are not
    numbers, or ones more than an image's size away from it.
    """
    from pycocotools import mask as coco

    parts = [_checked(polygon, shape) for polygon in polygons]
    if not parts:
        return None
    merged = coco.merge(coco.frPyObjects(parts, *shape))
    return counts_to_mask(unpack_counts(merged["counts"]), shape)


def _checked(polygon: Sequence[float], shape: tuple[int, int]) -> list[float]:
    try:
        points = np.asarray(polygon, np.float64)
    except (ValueError, TypeError) as error:
        raise DataError("A polygon is not a flat list of numbers") from error
    if points.ndim != 1 or points.size < 6 or points.size % 2:
        raise DataError("A polygon needs at least three points x, y", remedy="Redraw or remove it")
    if not np.isfinite(points).all():
        raise DataError("A polygon has coordinates that are not numbers")
    for values, size in ((points[0::2], shape[1]), (points[1::2], shape[0])):
        if values.min() < -size or values.max() > 2 * size:
            raise DataError("A polygon lies far outside its image", remedy="Check the image's size")
    flat: list[float] = points.tolist()
    return flat


def mask_to_polygons(mask: Mask) -> list[list[float]]:
    """Outer outlines along pixel edges, one flat [x0, y0, ...] for each 4-connected part.

    `polygons_to_mask` gives the same pixels back, except that holes are lost: they come back
    filled.
    """
    from scipy import ndimage

    labels, _ = ndimage.label(mask.bits)
    outlines = []
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        part = ndimage.binary_fill_holes(labels[rows, columns] == index)
        outlines.append(_outline(part, mask.y + rows.start, mask.x + columns.start))
    return outlines


def _outline(part: NDArray[np.bool_], y: int, x: int) -> list[float]:
    """The corners of a 4-connected part without holes, clockwise, in image coordinates."""
    padded = np.pad(part, 1)
    stride = padded.shape[1]
    follow = np.zeros(padded.size, np.int64)
    inside = padded[1:, 1:]
    # Each pixel edge to the outside is a step between pixel corners with the inside on its right.
    up, left = inside & ~padded[:-1, 1:], inside & ~padded[1:, :-1]
    down, right = ~inside & padded[:-1, 1:], ~inside & padded[1:, :-1]
    for border, begin, end in ((up, 0, 1), (down, 1, 0), (right, 0, stride), (left, stride, 0)):
        row, column = np.nonzero(border)
        follow[row * stride + column + begin] = row * stride + column + end
    steps = follow.tolist()
    here = begin = int(np.flatnonzero(part[0])[0])
    path = []
    while True:
        path.append(here)
        here = steps[here]
        if here == begin:
            break
    row, column = np.divmod(np.array(path), stride)
    heading = np.diff(np.array([*path, begin]))
    turns = heading != np.roll(heading, 1)
    return np.stack([column[turns] + x, row[turns] + y], axis=1).astype(float).ravel().tolist()
