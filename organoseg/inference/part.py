"""What is kept of a picture when its pixels are gone: enough for every joint file of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from organoseg.core import Instances

#: What is known of a picture's place, by the names that ``Result.fields`` may have for it.
PLACES: Mapping[str, tuple[str, ...]] = {
    "plate": ("plate",),
    "well": ("well",),
    "site": ("site",),
    "time": ("time", "t"),
    "channel": ("channel", "c"),
    "z": ("z",),
}


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


def place_of(fields: Mapping[str, str]) -> dict[str, str | None]:
    """plate, well, site, time, channel and z of a picture; None where it is not known."""
    return {
        place: next((fields[name] for name in names if name in fields), None)
        for place, names in PLACES.items()
    }
