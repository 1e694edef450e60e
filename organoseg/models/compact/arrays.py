"""The compact engine's answer from plain arrays: what `decode` does with tensors, for runtimes without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.special import expit

from organoseg.core import Instances
from organoseg.models.compact.collect import NEARLY, SPEAKERS, Drawing, Floats, collect, drawings
from organoseg.models.compact.layout import FINER, LAYERS, LEVELS, WINDOW


def padded(pixels: Floats) -> Floats:
    """(B, 1, H, W) reflect-padded behind to multiples of the coarsest stride."""
    step = LEVELS[-1]
    bottom, right = -pixels.shape[2] % step, -pixels.shape[3] % step
    if not bottom and not right:
        return pixels
    reflect = bottom < pixels.shape[2] and right < pixels.shape[3]
    sides = ((0, 0), (0, 0), (0, bottom), (0, right))
    return np.pad(pixels, sides, mode="reflect") if reflect else np.pad(pixels, sides, mode="edge")


@cache
def _spread(cell: int) -> Floats:
    """What each of 64 cells gives to each of 64 x cell places between their centres, (64 cell, 64)."""
    place = np.maximum((np.arange(WINDOW * cell) + 0.5) / cell - 0.5, 0)
    first = place.astype(np.int64)
    table = np.zeros((WINDOW * cell, WINDOW), np.float32)
    rows = np.arange(WINDOW * cell)
    table[rows, first] += 1 - (place - first)
    table[rows, np.minimum(first + 1, WINDOW - 1)] += place - first
    return table


def enlarged(windows: Floats, cell: int) -> Floats:
    """See :class:`organoseg.models.compact.collect.Enlarge`."""
    table = _spread(cell)
    return np.asarray(table @ windows @ table.T, np.float32)


def draw(
    features: Floats,
    parameters: Floats,
    image: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
) -> Floats:
    """Mask logits (K, 64, 64) of K locations; as :func:`organoseg.models.compact.network.draw_masks`."""
    half, middle = WINDOW // 2, FINER // 2
    wide = np.pad(features, ((0, 0), (0, 0), (half, half), (half, half)))
    axis = (np.arange(WINDOW, dtype=np.float32) + np.float32(0.5)) / WINDOW * 4 - 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    place = np.stack([y, x]).reshape(2, -1)
    out = np.empty((len(image), WINDOW * WINDOW), np.float32)
    for k, (b, i, j) in enumerate(zip(image.tolist(), row.tolist(), column.tolist(), strict=True)):
        top, left = i * FINER + middle, j * FINER + middle
        window = wide[b, :, top : top + WINDOW, left : left + WINDOW].reshape(len(wide[b]), -1)
        out[k] = _dynamic(np.concatenate([window, place]), parameters[k])
    return out.reshape(-1, WINDOW, WINDOW)


def _dynamic(x: Floats, parameters: Floats) -> Floats:
    """One tiny network on its window: (10, cells) to (1, cells)."""
    start = 0
    for inputs, outputs in LAYERS:
        weight = parameters[start : start + inputs * outputs].reshape(outputs, inputs)
        start += inputs * outputs
        x = weight @ x + parameters[start : start + outputs, None]
        start += outputs
        if outputs != 1:
            x = np.maximum(x, 0, out=x)
    return x


def _speakers(logits: Floats, threshold: float) -> tuple[NDArray[np.int64], Floats]:
    """Places (image, class, row, column), int64 (4, K), and their probabilities (K,)."""
    probability = expit(logits)
    highest = maximum_filter(probability, (1, 1, 3, 3), mode="constant", cval=0.0)
    places = np.stack(np.nonzero((probability >= NEARLY * highest) & (probability > threshold)))
    return places, probability[tuple(places)]


def decode_arrays(
    outputs: Mapping[str, Floats],
    classes: Sequence[int],
    shape: tuple[int, int],
    threshold: float,
    nms: float,
    most: int,
) -> list[Instances]:
    """Instances of each image of a batch, best first; as :func:`organoseg.models.compact.decode.decode`.

    Parameters
    ----------
    outputs
        For each level s of 8, 16 and 32: ``score{s}`` (B, classes, h, w) logits, ``controller{s}`` (B, 169, h, w),
        ``mask{s}`` (B, 8, 4h, 4w) mask features.
    """
    images = len(outputs[f"score{LEVELS[0]}"])
    found: list[list[Drawing]] = [[] for _ in range(images)]
    for stride in LEVELS:
        places, sure = _speakers(outputs[f"score{stride}"], threshold)
        if len(sure) > SPEAKERS * most * images:
            best = np.argsort(-sure, kind="stable")[: SPEAKERS * most * images]
            places, sure = places[:, best], sure[best]
        if not len(sure):
            continue
        image, label, row, column = places
        parameters = outputs[f"controller{stride}"][image, :, row, column]
        logits = draw(outputs[f"mask{stride}"], parameters, image, row, column)
        where = row.tolist(), column.tolist()
        for k, mask, inner, _ in drawings(logits, stride, *where, shape, enlarged):
            score = float(np.sqrt(sure[k] * inner))
            found[image[k]].append(Drawing(mask, score, classes[label[k]]))
    return [collect(items, shape, threshold, nms, most)[0] for items in found]
