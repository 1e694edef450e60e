"""From a trained compact model to an ONNX file; the int8 one is measured against it before it is written."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import UsageError, write_bytes
from organoseg.models.compact.arrays import padded
from organoseg.models.compact.collect import Floats
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.export.onnx_engine import INPUT, OUTPUTS
from organoseg.models.export.onnx_file import ENGINE, ENGINE_INT8, KEY, onnxruntime, read_onnx
from organoseg.models.export.onnx_graph import network_proto, onnx_package
from organoseg.models.folder import ModelDescription, load_module


def _described(proto: Any, description: ModelDescription, engine: str) -> bytes:
    """The file: the model with its description."""
    facts = description.model_dump(mode="json")
    facts["trained_with"] = {**facts["trained_with"], "exported_from": description.identity}
    facts["engine"] = engine
    proto.metadata_props.add(key=KEY, value=json.dumps(facts))
    return bytes(proto.SerializeToString())


def exported(folder: Path) -> tuple[CompactSegmenter, ModelDescription]:
    """The model in a folder, if it is one that can be exported.

    Raises
    ------
    DataError
        No model there, or a damaged one.
    UsageError
        A model of another engine than compact.
    """
    module, description = load_module(folder)
    if not isinstance(module, CompactSegmenter):
        raise UsageError(
            f"models of the engine {description.engine} are not exported, only those of compact",
            where=folder,
            remedy="Train a compact student of it: method fast_student, with this model as its teacher.",
        )
    return module, description


def write_onnx(folder: Path, out: Path) -> ModelDescription:
    """Write the model of a folder as an ONNX file; what the file says of itself comes back.

    Raises
    ------
    AbsentPart
        Packages that write ONNX files are not installed.
    DataError, UsageError
        As `exported`.
    """
    onnxruntime()  # what is written is read back: without it nothing is left half-checked
    engine, description = exported(folder)
    write_bytes(out, _described(network_proto(engine.network), description, ENGINE))
    return read_onnx(out)[1]


@dataclass(frozen=True)
class _Images:
    """Calibration images, one at a time, for onnxruntime."""

    images: Iterator[Floats]

    def get_next(self) -> dict[str, Floats] | None:
        """The next one, or None after the last."""
        image = next(self.images, None)
        return None if image is None else {INPUT: image}


def write_int8(folder: Path, out: Path, images: Sequence[Floats]) -> ModelDescription:
    """Write the model of a folder with 8-bit weights and activations (static quantisation, QDQ).

    Parameters
    ----------
    images
        A few unlabelled images as the model will see them, float32 (H, W), normalised: the ranges of the activations
        are taken from them.

    Raises
    ------
    AbsentPart, DataError, UsageError
        As `write_onnx`.
    """
    onnx_package()
    onnxruntime()
    if not images:
        raise UsageError("int8 needs images to calibrate with", remedy="Give --calibrate IMAGES.")
    engine, description = exported(folder)
    small = _quantised(network_proto(engine.network), images)
    write_bytes(out, _described(small, description, ENGINE_INT8))
    return read_onnx(out)[1]


def _quantised(proto: Any, images: Sequence[Floats]) -> Any:
    """The same network in 8 bits."""
    onnx = onnx_package()
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    # The last layers stay as they are: an error of theirs is one of a score or a mask, and they cost little.
    last = [node.name for node in proto.graph.node if set(node.output) & set(OUTPUTS)]
    shaped = (padded(np.ascontiguousarray(i, np.float32)[None, None]) for i in images)
    with tempfile.TemporaryDirectory() as made, _quiet():
        source, target = str(Path(made) / "float.onnx"), str(Path(made) / "int8.onnx")
        onnx.save(proto, source)
        quantize_static(
            source,
            target,
            _Images(iter(shaped)),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_exclude=last,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(target)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of constants that have no channels, and of a preparation that would change nothing."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
