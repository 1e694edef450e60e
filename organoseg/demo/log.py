"""What a finished run's log knows of how it went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Figures of the pseudo-label monitor that say how the teacher fared on the unlabelled images.
MONITORED = ("kept", "ignored", "empty", "score", "area_shift", "labelled_density")


@dataclass(frozen=True)
class RunLog:
    """One run, looked back at.

    curve: (step, AP on the validation images); switched: the first logged step whose teacher was
    the student's own average, None where the first teacher stayed (or there was none); pseudo:
    means of the pseudo-label monitor over the run, a crop; notes: what the run wrote down.
    """

    curve: tuple[tuple[int, float], ...]
    switched: int | None
    pseudo: dict[str, float]
    notes: tuple[str, ...]


def read_log(run: Path, notes: Sequence[str]) -> RunLog:
    """The log of the run in a folder, from its ``metrics.jsonl``."""
    text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    curve = [(line["step"], line["AP"]) for line in lines if line["kind"] == "validation"]
    mutual = [line["step"] for line in lines if line.get("phase") == "mutual"]
    monitored = [line for line in lines if line["kind"] == "pseudo_labels"]
    means = {
        name: sum(line[name] for line in monitored) / len(monitored)
        for name in MONITORED
        if monitored
    }
    return RunLog(tuple(curve), mutual[0] if mutual else None, means, tuple(notes))
