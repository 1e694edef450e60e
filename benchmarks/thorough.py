"""What a thorough look is worth: the models of `few_label.py`, asked once and from four views.

    python benchmarks/thorough.py --data ../shared/data/m_orgaquant --out runs/few_label --table docs/benchmarks.md

`organoseg predict --thorough` looks at each image turned and enlarged. Nothing is trained here. What is
measured is kept beside each run and not measured again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.runs import Run
from benchmarks.tables import markdown, number, origin, run_program
from benchmarks.testset import TestSet, choose_test_set
from organoseg.core import DataError, read_json, write_json

FIGURES = ("AP", "AP50", "AP75", "precision", "recall", "overlapping")
HEADERS = ("labels", "method", "seeds", "look", *FIGURES[:-1], "overlapping found", "ms an image")


def look(model: Path, test: TestSet, thorough: bool) -> dict[str, float]:
    """Figures of one model on the test set, at its best F1, and the time an image takes."""
    from organoseg.evaluation import evaluate
    from organoseg.inference.api import load_model

    ready = load_model(model, "cpu", thorough=thorough)
    dataset = test.load()
    start = perf_counter()
    found = {item.image.name: ready.segment(item.image, 0.05) for item in dataset}
    seconds = perf_counter() - start
    truth = {item.image.name: item.instances for item in dataset}
    figures = evaluate(found, truth, bootstrap=0, first_id=test.labels().first_id)
    return {
        **{name: figures.to_dict()[name] for name in ("AP", "AP50", "AP75")},
        "precision": figures.best.precision,
        "recall": figures.best.recall,
        "overlapping": figures.best.recall_overlapping,
        "milliseconds": seconds / len(dataset) * 1e3,
    }


def measure(run: Run, test: TestSet) -> dict[str, Any]:
    """Both looks of a run's model, read back where they were measured before."""
    path = run.folder / f"looks-{test.key}.json"
    if not path.is_file():
        looks = {name: look(run.model, test, name == "thorough") for name in ("plain", "thorough")}
        write_json(path, looks)
    figures: dict[str, Any] = read_json(path)
    return figures


def rows_of(out: Path, test: TestSet) -> list[list[str]]:
    """Two lines a method and number of labels: means over the seeds."""
    lines = []
    for folder in sorted(out.glob("labelled_*"), key=lambda p: int(p.name.split("_")[1])):
        for method in ("supervised", "guided"):
            labelled = int(folder.name.split("_")[1])
            runs = [Run(labelled, method, 0, p) for p in sorted(folder.glob(f"{method}/seed-*"))]
            looks = [measure(run, test) for run in runs if run.trained]
            for name in ("plain", "thorough") if looks else ():
                means = [float(np.mean([each[name][f] for each in looks])) for f in FIGURES]
                time = float(np.median([each[name]["milliseconds"] for each in looks]))
                head = [str(labelled), method, str(len(looks)), name]
                lines.append([*head, *map(number, means), f"{time:.0f}"])
    return lines


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """The table's lines."""
    import torch

    torch.set_num_threads(args.threads)
    lines = rows_of(args.out / "runs" / "few-label", choose_test_set(args.data.resolve()))
    if not lines:
        raise DataError("there is no finished run", where=args.out)
    return {"rows": lines, "threads": args.threads}


def thorough_table(result: dict[str, Any]) -> str:
    """The block of docs/benchmarks.md."""
    note = (
        "- Precision, recall and overlapping organoids found: at the score of the best F1. Milliseconds: median "
        f"over the models, {result['threads']} threads, other work beside."
    )
    return "\n".join([markdown(HEADERS, result["rows"]), "", note, *origin(result)])


def main(arguments: Sequence[str]) -> int:
    """The program. --out is the folder of few_label.py."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    return run_program("thorough", arguments, parser, measure_all, thorough_table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
