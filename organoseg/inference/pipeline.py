"""Frames in, finished parts of a run out: reading, network and writing at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from organoseg.inference.frames import Frame
from organoseg.inference.settings import PredictSettings


@dataclass(frozen=True)
class Failure:
    """A frame that could not be segmented, and why."""

    key: str
    source: str
    reason: str


@dataclass(frozen=True)
class Tally:
    """What became of some frames: ``skipped`` were done before."""

    done: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()


def segment_frames(
    frames: Sequence[Frame],
    settings: PredictSettings,
    model_folder: Path,
    out: Path,
    tick: Callable[[Frame], None] | None = None,
) -> Tally:
    """Segment frames and write what each gets into ``out``; what lies there whole is left as it is.

    The result of a frame does not depend on which others are with it, so any split of a run over processes gives the
    same files. A frame is done when ``parts/KEY.json`` is there: it is written last, after ``parts/KEY.facts.json``,
    ``parts/KEY.jpg`` and the files of ``settings.write``. ``tick`` is told of every frame that has ended.

    Raises
    ------
    DataError, UsageError
        The model cannot be used.
    RunError
        The disk takes no more; nothing half-written is left.
    """
    raise NotImplementedError
