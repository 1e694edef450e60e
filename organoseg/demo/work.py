"""One method of the demo, from its recipe to its figures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from organoseg.core import Instances
from organoseg.dataset import LabelledDataset
from organoseg.demo.data import DemoImages
from organoseg.demo.log import RunLog, read_log
from organoseg.demo.plan import DemoPlan, recipe_of
from organoseg.demo.teachers import Teacher, judge_teachers
from organoseg.evaluation import Evaluation, evaluate
from organoseg.io import write_instances

if TYPE_CHECKING:
    from organoseg.training.progress import Reporter


@dataclass(frozen=True, eq=False)
class Outcome:
    """A trained method: test predictions by name, figures, seconds of training, log, its teachers."""

    predictions: dict[str, Instances]
    evaluation: Evaluation
    seconds: float
    log: RunLog
    teachers: tuple[Teacher, ...]


def run_method(
    method: str, plan: DemoPlan, out: Path, images: DemoImages, reporter: Reporter
) -> Outcome:
    """Train, evaluate on the test images and predict them as a user would.

    The method's folder gets ``model/``, ``test.json`` (all predictions, with which `organoseg
    evaluate` gives the figures again) and ``predictions/`` (those from the model's own score on).
    """
    from organoseg.inference.folder import predict_folder
    from organoseg.training.run import train

    run, test = out / method, images.test
    result = train(recipe_of(method, plan, out), run, reporter=reporter)
    # A finished demo is not resumed, and checkpoints are its largest part.
    shutil.rmtree(run / "checkpoints")
    predictions = _all_predictions(result.model, test)
    write_instances(run / "test.json", list(predictions.items()))
    predict_folder([out / "data" / "test"], result.model, run / "predictions")
    truth = {item.name: item.instances for item in test}
    return Outcome(
        predictions=predictions,
        evaluation=evaluate(predictions, truth, seed=plan.seed),
        seconds=float(result.figures["seconds"]["train"]),
        log=read_log(run, result.figures["notes"]),
        teachers=tuple(judge_teachers(run, images.hidden)),
    )


def _all_predictions(model: Path, test: LabelledDataset) -> dict[str, Instances]:
    from organoseg.inference.api import load_model
    from organoseg.training.validation import predict_dataset

    ready = load_model(model)
    return predict_dataset(ready.module, test, ready.device)[0]
