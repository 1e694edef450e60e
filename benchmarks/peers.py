"""Rows for other programs: their predictions, evaluated by the same code."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.testset import TestSet
from organoseg.core import UsageError, read_json
from organoseg.evaluation import evaluate
from organoseg.io import read_instances
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
    """Its figures on the test set, and what plain pycocotools reads from the same two files."""
    truth = {n: t for n, t in read_instances(test.annotations).items() if n in set(test.names)}
    found = parse_predictions(peer.path, test.annotations)
    kept = {name: instances for name, instances in found.items() if name in truth}
    figures = evaluate(kept, truth, bootstrap=bootstrap).to_dict()
    return {"name": peer.name, **figures, "pycocotools": plain_pycocotools(peer.path, test)}


def plain_pycocotools(results: Path, test: TestSet) -> list[float] | None:
    """AP, AP50, AP75 of a bare results list by pycocotools on the files as they are, 300 detections.

    They may differ from ours: pycocotools takes a match with annotation id 0 for no match.
    None for a file of another form.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    listed = read_json(results)
    if not isinstance(listed, list):
        return None
    names = set(test.names)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(test.annotations))
        run = COCOeval(coco, coco.loadRes(listed), "segm")
        run.params.imgIds = [i for i, image in coco.imgs.items() if image["file_name"] in names]
        run.params.maxDets = [1, 10, 300]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][..., 0, -1]
    return [float(precision[t].mean()) for t in (slice(None), 0, 5)]
