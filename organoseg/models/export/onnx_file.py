"""An exported model is one ONNX file that says what it is: the model's description is among its metadata."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from organoseg.core import DataError
from organoseg.models.folder import ModelDescription
from organoseg.models.protocol import AbsentPart

SUFFIX = ".onnx"
#: The key of the metadata under which the description stands, as JSON.
KEY = "organoseg"
#: A model of this engine that was written to ONNX.
ENGINE, ENGINE_INT8 = "compact-onnx", "compact-onnx-int8"
#: An ONNX file is read as a whole; no model of ours comes near this (bytes).
LARGEST = 1 << 30
REMEDY = "Export the model again: organoseg model export MODEL --onnx OUT.onnx"
#: The runtime's setting for the folder in which it looks for weights that are not in the file.
_OUTSIDE = "session.model_external_initializers_file_folder_path"


def is_onnx(path: Path) -> bool:
    """Whether this is to be read as an exported model."""
    return path.suffix.lower() == SUFFIX and not path.is_dir()


def onnxruntime() -> Any:
    """The runtime.

    Raises
    ------
    AbsentPart
        It is not installed.
    """
    try:
        import onnxruntime as found
    except ImportError as error:
        raise AbsentPart(
            "a model in an ONNX file needs onnxruntime, which is not installed",
            remedy='Install it: pip install "organoseg[onnx]"',
        ) from error
    return found


def open_session(data: bytes, path: Path) -> Any:
    """A session on the processor for the ONNX model in ``data``.

    Nothing but the operators of onnxruntime runs, and only ``data`` is read: a model that keeps its weights in other
    files is refused.

    Raises
    ------
    AbsentPart
        onnxruntime is not installed.
    DataError
        It is no ONNX model, or not one that can be run here.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    # Idle threads that spin take what reading, drawing and other processes need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        options.intra_op_num_threads = int(threads)
    try:
        with TemporaryDirectory() as empty:
            # Weights in other files would be looked for in the folder that the program runs in.
            options.add_session_config_entry(_OUTSIDE, empty)
            return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions have no common base but this one
        raise DataError(
            f"onnxruntime cannot read this file: {str(error).splitlines()[0][:300]}",
            where=path,
            remedy=REMEDY,
        ) from error


def read_onnx(path: Path) -> tuple[Any, ModelDescription]:
    """The session and the description of an exported model.

    Raises
    ------
    AbsentPart
        onnxruntime is not installed.
    DataError
        The file is missing, damaged, too large, or was not written by organoseg.
    """
    if not path.is_file():
        raise DataError("no model here", where=path, remedy="Give an .onnx file.")
    if path.stat().st_size > LARGEST:
        raise DataError("the file is too large for an exported model", where=path, remedy=REMEDY)
    data = path.read_bytes()
    session = open_session(data, path)
    said = session.get_modelmeta().custom_metadata_map.get(KEY)
    if said is None:
        raise DataError(
            "this ONNX file was not written by organoseg",
            where=path,
            remedy="Networks of other programs cannot be read: what their numbers mean is not known.",
        )
    try:
        facts = json.loads(said)
        if not isinstance(facts, dict):
            raise ValueError("not a mapping")
        # What is written beside results names exactly this file.
        sha = hashlib.sha256(data).hexdigest()
        return session, ModelDescription.model_validate({**facts, "weights_sha256": sha})
    except (ValueError, ValidationError) as error:
        raise DataError(
            f"the model's description cannot be read: {error}", where=path, remedy=REMEDY
        ) from error
