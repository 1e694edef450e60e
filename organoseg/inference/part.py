"""What is kept of a picture when its pixels are gone: enough for every joint file of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from organoseg.core import Instances


@dataclass(frozen=True)
class Part:
    """One finished picture of a run, read from the run's own folder.

    Attributes
    ----------
    key
        The picture's key within the run, as in ``Result.key``.
    facts
        What ``writers.facts.facts_of`` said of it.
    instances
        Reads its masks; called only by those who need them, so that a run of 10,000 pictures fits in memory.
    thumbnail
        A small picture of it (JPEG), or None.
    """

    key: str
    facts: Mapping[str, Any]
    instances: Callable[[], Instances]
    thumbnail: Path | None = None
