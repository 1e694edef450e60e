"""The joint files of a run, made from its parts alone: no pixel is read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from organoseg.inference.frames import Frame
from organoseg.inference.pipeline import Failure
from organoseg.inference.settings import PredictSettings


def collect(
    out: Path,
    frames: Sequence[Frame],
    settings: PredictSettings,
    model_folder: Path,
    failures: Sequence[Failure],
) -> None:
    """Write instances.json, measurements.csv, report.html, run.json and errors.csv of the frames that are done.

    In the order of ``frames``, whoever did them. RunError when the disk does not take a file.
    """
    raise NotImplementedError
