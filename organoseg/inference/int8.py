"""A model in 8 bits, written only where it still sees what the full one sees."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from organoseg.core import DataError, Image, RunError, normalised, write_bytes
from organoseg.evaluation import evaluate
from organoseg.inference.api import load_model
from organoseg.io import find_images, read_image
from organoseg.models.export.onnx_write import write_int8
from organoseg.models.folder import ModelDescription

#: So many images at most, evenly taken from those given: ranges do not change with more.
MOST_IMAGES = 64
#: AP of the 8-bit model with the full one's organoids as truth, from which on it is written. Below, one in ten
#: organoids is another one.
LEAST_AGREEMENT = 0.9
#: Scores from here on are asked of the 8-bit model, so that one that sank a little is not a miss.
LOWEST = 0.05


def calibration_images(paths: Sequence[Path]) -> list[Image]:
    """Images for the ranges of 8-bit numbers, at most `MOST_IMAGES` of those that are given.

    Raises
    ------
    DataError
        There is none, or one cannot be read.
    """
    files = find_images(paths)
    if not files:
        raise DataError("no image to calibrate with", where=paths[0] if paths else None)
    count = min(len(files), MOST_IMAGES)
    return [read_image(files[i * len(files) // count]) for i in range(count)]


def export_int8(model: Path, out: Path, images: Sequence[Path]) -> tuple[ModelDescription, str]:
    """Write a model folder as an 8-bit ONNX file; its description, and a sentence on how it agrees with the full one.

    Raises
    ------
    AbsentPart, DataError, UsageError
        As :func:`organoseg.models.export.onnx_write.write_int8` and `calibration_images`.
    RunError
        The 8-bit model sees other organoids than the full one. Nothing is written.
    """
    seen = calibration_images(images)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        planes = [normalised(image.plane(), image.name or None) for image in seen]
        description = write_int8(model, made, planes)
        full, small = load_model(model, "cpu", "fp32"), load_model(made)
        names = [str(number) for number in range(len(seen))]
        truth = {n: full.predict(image) for n, image in zip(names, seen, strict=True)}
        found = {n: small.predict(image, LOWEST) for n, image in zip(names, seen, strict=True)}
        count = sum(map(len, truth.values()))
        agreement = evaluate(found, truth, bootstrap=0).ap if count else float("nan")
        said = (
            f"On {len(seen)} images the 8-bit model sees the {count} organoids of the full one with AP "
            f"{agreement:.3f} (1: the same masks in the same order)."
        )
        # Written so that what is not a number is refused too.
        if not agreement >= LEAST_AGREEMENT:
            raise RunError(
                f"{said} That is too little, and no file was written",
                where=out,
                remedy="Calibrate with images like those to be segmented, or export without --int8.",
            )
        write_bytes(out, made.read_bytes())
    return description, said
