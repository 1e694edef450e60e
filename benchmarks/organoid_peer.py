"""OrganoID beside us: its published network, and its way from belief to organoids written anew.

Matthews et al. 2022, PLOS Computational Biology: the network gives each pixel of a 512 x 512 image the
belief that it belongs to an organoid; pixels of .5 and more are organoid; touching organoids are parted
at edges of the belief and by a watershed; what is smaller than 100 pixels is dropped. The paper does not
give every number: those below were chosen so that the result comes near the predictions that the
published program made, and `speed.py` says how near.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from scipy import ndimage
from skimage.filters import sobel
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from organoseg.core import Instances, Mask, MissingPartError

SIDE = 512
BELIEF = 0.5
SMALLEST_AREA = 100
#: Slope of the belief that parts two organoids, and how deep a neck between them has to be, px.
EDGE, DEPTH = 0.2, 2.0
SMOOTHING = 1.0


class OrganoID:
    """The network in TFLite and the identification of single organoids.

    MissingPartError when the interpreter is not installed.
    """

    def __init__(self, path: Path, threads: int) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingPartError(
                "OrganoID's network needs ai-edge-litert", remedy="pip install 'organoseg[bench]'"
            ) from error
        self._interpreter: Any = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def belief(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 (512, 512) in [0, 1] of a grey image (H, W)."""
        resized = Picture.fromarray(pixels).resize((SIDE, SIDE), Picture.Resampling.BICUBIC)
        grey = np.asarray(resized, np.float32)
        spread = max(float(grey.max() - grey.min()), 1.0)
        stretched = (grey - grey.min()) * (255 / spread)
        self._interpreter.set_tensor(self._input, stretched[None, :, :, None])
        self._interpreter.invoke()
        belief: NDArray[np.float32] = self._interpreter.get_tensor(self._output)[0, :, :, 0]
        return belief


def part_whole(belief: NDArray[np.float32]) -> NDArray[np.int32]:
    """As `part`, step by step on the whole image: the way one would write it down first."""
    organoid = belief >= BELIEF
    labels = _part_patch(organoid, organoid & (sobel(belief) <= EDGE))
    areas = np.bincount(labels.reshape(-1))
    labels[areas[labels] < SMALLEST_AREA] = 0
    return labels


def part(belief: NDArray[np.float32]) -> NDArray[np.int32]:
    """A label image (512, 512), 0 for background: single organoids of a belief map."""
    organoid = belief >= BELIEF
    inner = organoid & (sobel(belief) <= EDGE)
    labels = np.zeros(belief.shape, np.int32)
    # Patch by patch: several times as fast as on the whole image.
    patches, _ = ndimage.label(organoid)
    count = 0
    for number, box in enumerate(ndimage.find_objects(patches), start=1):
        patch = patches[box] == number
        if np.count_nonzero(patch) < SMALLEST_AREA:
            continue
        own = _part_patch(patch, inner[box] & patch)
        areas = np.bincount(own.reshape(-1))
        kept = (own > 0) & (areas[own] >= SMALLEST_AREA)
        labels[box][kept] = own[kept] + count
        count += len(areas)
    return labels


def _part_patch(patch: NDArray[np.bool_], inner: NDArray[np.bool_]) -> NDArray[np.int32]:
    """One connected patch cut at its necks: labels from 1, 0 outside."""
    depth = ndimage.distance_transform_edt(np.pad(inner, 1))[1:-1, 1:-1]
    depth = ndimage.gaussian_filter(depth, SMOOTHING, mode="constant")
    centres, count = ndimage.label(depth - reconstruction(depth - DEPTH, depth) >= DEPTH - 1e-6)
    if count < 2:
        return patch.astype(np.int32)
    parted: NDArray[np.int32] = watershed(-depth, centres, mask=patch)
    return parted


def to_instances(
    labels: NDArray[np.int32], belief: NDArray[np.float32], shape: tuple[int, int]
) -> Instances:
    """The organoids at the image's own size; the score is the mean belief."""
    size = (shape[1], shape[0])
    own = np.asarray(Picture.fromarray(labels).resize(size, Picture.Resampling.NEAREST))
    back = np.asarray(Picture.fromarray(belief).resize(size, Picture.Resampling.BILINEAR))
    masks, scores = [], []
    for number, box in enumerate(ndimage.find_objects(own), start=1):
        if box is None:
            continue
        bits = own[box] == number
        mask = Mask.from_bits(bits, box[0].start, box[1].start)
        if mask is not None:
            masks.append(mask)
            scores.append(float(back[box][bits].mean()))
    if not masks:
        return Instances.empty(shape)
    return Instances.from_masks(shape, masks, scores=np.array(scores, np.float32))
