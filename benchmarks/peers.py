"""Rows for other programs: their predictions, evaluated by the same code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.testset import TestSet
from organoseg.core import UsageError
from organoseg.evaluation import evaluate
from organoseg.io.coco_json import parse_predictions


@dataclass(frozen=True)
class Peer:
    """Another program and what it predicts on the test set."""

    name: str
    path: Path


def parse_peer(text: str) -> Peer:
    """`NAME=FILE.json`, as given on the command line."""
    name, equals, path = text.partition("=")
    if not equals or not name or not Path(path).is_file():
        raise UsageError(
            f"cannot read {text!r}",
            where="--peer",
            remedy="Write NAME=FILE.json, a file that exists.",
        )
    return Peer(name, Path(path).resolve())


def measure_peer(peer: Peer, test: TestSet, bootstrap: int) -> dict[str, Any]:
    """Its figures on the test set."""
    labels = test.labels()
    found = parse_predictions(peer.path, test.annotations)
    kept = {name: instances for name, instances in found.items() if name in labels.instances}
    figures = evaluate(kept, labels.instances, bootstrap=bootstrap, first_id=labels.first_id)
    return {"name": peer.name, **figures.to_dict()}
