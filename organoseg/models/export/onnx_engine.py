"""An exported model as an engine: onnxruntime runs the network, numpy makes organoids of what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import DataError, Instances
from organoseg.models.compact.arrays import decode_arrays, padded
from organoseg.models.compact.collect import Floats
from organoseg.models.compact.layout import DYNAMIC_PARAMETERS, FINER, LEVELS, MASK_CHANNELS
from organoseg.models.export.onnx_file import REMEDY, read_onnx
from organoseg.models.folder import ModelDescription

INPUT = "pixels"
OUTPUTS = tuple(f"{part}{s}" for s in LEVELS for part in ("score", "controller", "mask"))


class OnnxSegmenter:
    """The part of :class:`organoseg.models.protocol.Segmenter` that predicts. It cannot be trained.

    Arrays or tensors come in, and torch is not imported. Use :func:`load_onnx` to make one.
    """

    #: Images are taken as float32 arrays (B, 1, H, W).
    takes_arrays = True

    def __init__(
        self, session: Any, classes: Sequence[int], max_instances: int, nms: float
    ) -> None:
        self.classes = tuple(classes)
        self.max_instances, self.nms = max_instances, nms
        self._session = session

    def to(self, device: Any) -> OnnxSegmenter:
        """Itself: it runs on the processor."""
        return self

    def eval(self) -> OnnxSegmenter:
        """Itself."""
        return self

    def outputs(self, pixels: Any) -> dict[str, Floats]:
        """What the network says of images (B, 1, H, W), H and W multiples of 32; see `decode_arrays`."""
        found = self._session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(pixels, np.float32)})
        return dict(zip(OUTPUTS, found, strict=True))

    def segment(self, pixels: Any, score_threshold: float = 0.05) -> list[Instances]:
        """Instances of each image (B, 1, H, W) of any size, best score first."""
        images = np.asarray(pixels, np.float32)
        shape = (int(images.shape[2]), int(images.shape[3]))
        return decode_arrays(
            self.outputs(padded(images)),
            self.classes,
            shape,
            score_threshold,
            self.nms,
            self.max_instances,
        )


def _checked(engine: OnnxSegmenter, path: Path) -> OnnxSegmenter:
    """Ask about one small image: a network that answers otherwise than ours is refused before it is trusted."""
    try:
        said = engine.outputs(np.zeros((1, 1, 64, 32), np.float32))
    except Exception as error:  # the runtime's exceptions have no common base but this one
        raise DataError(
            f"this network does not take images as ours do: {str(error).splitlines()[0][:300]}",
            where=path,
            remedy=REMEDY,
        ) from error
    for stride in LEVELS:
        grid, finer = (64 // stride, 32 // stride), FINER
        wanted = {
            "score": (1, len(engine.classes), *grid),
            "controller": (1, DYNAMIC_PARAMETERS, *grid),
            "mask": (1, MASK_CHANNELS, grid[0] * finer, grid[1] * finer),
        }
        for part, shape in wanted.items():
            found = said[f"{part}{stride}"]
            if found.shape != shape or found.dtype != np.float32 or not np.isfinite(found).all():
                raise DataError(
                    f"the network's output {part}{stride} is {found.dtype} {found.shape}, not finite float32 {shape}",
                    where=path,
                    remedy=REMEDY,
                )
    return engine


def load_onnx(path: Path) -> tuple[OnnxSegmenter, ModelDescription]:
    """The engine of an exported model, and its description.

    Raises
    ------
    AbsentPart
        onnxruntime is not installed.
    DataError
        The file is damaged, foreign, or holds another network than ours.
    """
    session, description = read_onnx(path)
    options = description.options
    try:
        most, nms = int(options["max_instances"]), float(options["nms"])
        if most < 1 or not 0 < nms <= 1:
            raise ValueError(f"max_instances {most}, nms {nms}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the model's options cannot be used: {error}", where=path, remedy=REMEDY
        ) from error
    engine = OnnxSegmenter(session, tuple(description.classes), most, nms)
    return _checked(engine, path), description
