"""The fast student: order of a step, a teacher of its own, runs that are killed, and teachers that do not fit."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import DataError, Instances, UsageError
from organoseg.core.soft_mask import SoftMask
from organoseg.distill.descent import Descent
from organoseg.distill.imitate import ImitationStep, SoftLabeller
from organoseg.distill.pseudo_labels import OrganoidFilter
from organoseg.distill.weights import freeze
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.folder import read_description, save_model
from organoseg.models.imitation import Imitation
from organoseg.models.protocol import Target
from organoseg.models.soft import SoftInstances
from organoseg.training import loop
from organoseg.training.checkpoint import latest, read
from organoseg.training.progress import silent
from organoseg.training.recipe import Recipe, parse_recipe
from organoseg.training.run import train
from tests.training.tiny import recipe

torch.set_num_threads(1)
OPTIONS = {"width": 16, "frozen_blocks": 0, "padding": "symmetric", "max_instances": 20, "nms": 0.6}


def disc(y: float, x: float, radius: float, side: int = 64) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - y, columns - x) <= radius


class Teacher(torch.nn.Module):
    """Another engine than the student: sees what is bright, softly."""

    max_instances = 5

    def __init__(self, score: float = 0.8) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.score = score

    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        return [s.instances for s in self.segment_soft(pixels, score_threshold)]

    def segment_soft(self, pixels: Any, score_threshold: float = 0.05) -> list[SoftInstances]:
        found = []
        for image in pixels[:, 0].numpy():
            bright = (image > 0.5)[None]
            seen = Instances.from_dense(bright, scores=[self.score]) if bright.any() else None
            seen = seen or Instances.empty(image.shape)
            soft = tuple(SoftMask.of(m, image.shape, 0.1) for m in seen.masks)
            found.append(SoftInstances(seen, soft))
        return found

    def losses(self, pixels: Any, targets: Any) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        raise NotImplementedError


LABELLER = SoftLabeller(OrganoidFilter(), (1.0,), lambda scores: scores**2)


def image(*discs: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.from_numpy(np.any(discs, axis=0).astype(np.float32))[None, None]


# -- what the teacher says -------------------------------------------------------------------


def test_what_the_teacher_sees_becomes_a_label_with_its_certainty() -> None:
    target = LABELLER.label(Teacher(0.8), image(disc(30, 30, 9)))[0]
    assert target.pseudo
    assert target.soft is not None
    assert target.soft[0] is not None
    assert target.soft[0].score == pytest.approx(0.64)
    assert target.confidence.tolist() == pytest.approx([0.64])


def test_labels_of_people_stay_and_get_the_teachers_soft_masks() -> None:
    seen, unseen = disc(20, 20, 9), disc(50, 50, 6)
    drawn = Target.labelled(Instances.from_dense(np.stack([unseen, seen])))
    both = LABELLER.beside(Teacher(), image(seen), [drawn])[0]
    assert both.instances is drawn.instances
    assert both.soft is not None
    assert both.soft[0] is None
    assert both.soft[1] is not None
    other = replace(drawn, instances=drawn.instances.replace(classes=np.array([1, 2], np.int32)))
    assert LABELLER.beside(Teacher(), image(seen), [other])[0].soft == (None, None)
    away = LABELLER.beside(Teacher(), image(disc(20, 40, 9)), [drawn])[0]
    assert away.soft == (None, None)


def test_one_instance_of_the_teacher_teaches_one_label() -> None:
    exact, near = disc(30, 30, 10), disc(31, 30, 10)
    drawn = Target.labelled(Instances.from_dense(np.stack([near, exact])))
    both = LABELLER.beside(Teacher(), image(exact), [drawn])[0]
    assert both.soft is not None
    assert both.soft[0] is None
    assert both.soft[1] is not None


# -- one step --------------------------------------------------------------------------------


def test_order_of_a_step() -> None:
    torch.manual_seed(0)
    student = CompactSegmenter(width=16, frozen_blocks=0)
    average, teacher = freeze(copy.deepcopy(student)), freeze(Teacher())
    with torch.no_grad():
        student.network.score.bias.add_(1.0)
    done: list[str] = []
    pixels = image(disc(32, 32, 9))
    drawn = [Target.labelled(Instances.from_dense(disc(32, 32, 9)[None]))]
    optimiser = torch.optim.SGD(student.parameters(), 1e-3)
    step = ImitationStep(
        student, average, teacher, optimiser, LABELLER, Imitation(), Descent(5.0, trace=done.append),
        unlabelled_weight=0.5, decay=0.9, trace=done.append,
    )  # fmt: skip
    report = step(lambda: (pixels, pixels + 0.1), lambda: (pixels, drawn))
    assert done == [
        "next.unlabelled", "next.labelled", "average", "teacher.label", "teacher.beside",
        "student.labelled", "student.unlabelled", "backward", "clip", "step",
    ]  # fmt: skip
    names = ("score", "dice", "pixel", "zero_order", "first_order")
    assert set(report.losses) == {f"{b}/{n}" for b in ("labelled", "unlabelled") for n in names}
    wanted = sum(v * (0.5 if k.startswith("unlabelled") else 1) for k, v in report.losses.items())
    assert report.total == pytest.approx(wanted)
    # The average holds a tenth of the student as it was before this step.
    assert average.network.score.bias.item() == pytest.approx(-4.0 + 0.1, abs=1e-6)
    assert teacher.weight.item() == 1
    assert student.imitation is None

    done.clear()
    alone = step(None, lambda: (pixels, drawn))
    assert "teacher.label" not in done
    assert "teacher.beside" in done
    assert not any(k.startswith("unlabelled") for k in alone.losses)


# -- runs ------------------------------------------------------------------------------------


def save_teacher(folder: Path, classes: dict[int, str], blind: bool = False) -> Path:
    """A compact model with random weights that sees much, or nothing."""
    torch.manual_seed(7)
    engine = CompactSegmenter(tuple(classes), 16, "symmetric", 0, 20)
    with torch.no_grad():
        engine.network.score.bias.fill_(-20.0 if blind else 1.0)
        engine.network.controller.weight.mul_(8)
    save_model(folder, engine, "compact", OPTIONS, classes, 0.3, {})
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher") / "model", {1: "organoid"})


def tree(data: Path, teacher: Path, **method: Any) -> dict[str, Any]:
    made = recipe(data, training={"steps": 5, "validate_every": 9, "checkpoint_every": 2})
    made["method"] = {"name": "fast_student", "teacher": str(teacher), "unlabelled_batch": 1}
    made["method"] |= {"refine": 0.2} | method
    del made["data"]["validation"]
    return made


class Killed(BaseException):
    """As SIGKILL: nothing is tidied up."""


def killed_at(number: int, chosen: Recipe, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies before its step of this number."""
    step = loop.Loop._one

    def dying(self: Any, *args: Any) -> Any:
        if self.state.facts.step == number:
            raise Killed
        return step(self, *args)

    with monkeypatch.context() as dies:
        dies.setattr(loop.Loop, "_one", dying)
        with pytest.raises(Killed):
            train(chosen, out, reporter=silent)


def test_a_killed_run_goes_on_to_the_same_bits(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("organoseg.training.run.finish", lambda *_: None)
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    chosen = parse_recipe(tree(data, teacher))
    train(chosen, tmp_path / "whole", reporter=silent)
    whole = read(latest(tmp_path / "whole" / "checkpoints"))

    killed_at(3, chosen, tmp_path / "killed", monkeypatch)
    train(chosen, tmp_path / "killed", resume=True, reporter=silent)
    resumed = read(latest(tmp_path / "killed" / "checkpoints"))
    assert whole.facts["facts"]["step"] == resumed.facts["facts"]["step"] == 5
    assert whole.tensors.keys() == resumed.tensors.keys()
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, resumed.tensors[name]), name
    metrics = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert "unlabelled/zero_order" in metrics
    assert '"refine"' in metrics


def test_a_run_leaves_a_student_of_its_own_options(
    data: Path, teacher: Path, tmp_path: Path
) -> None:
    made = tree(data, teacher, refine=0)
    made["model"]["options"]["width"] = 32
    made["training"]["steps"] = 1
    del made["data"]["unlabelled"]
    result = train(parse_recipe(made), tmp_path / "run", reporter=silent)
    description = read_description(result.model)
    assert description.options["width"] == 32
    assert description.trained_with["method"] == "fast_student"
    assert any("the teacher sees" in note for note in result.figures["notes"])


def test_a_teacher_that_was_exchanged(
    data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("organoseg.training.run.finish", lambda *_: None)
    mine = save_teacher(tmp_path / "mine", {1: "organoid"})
    chosen = parse_recipe(tree(data, mine))

    killed_at(2, chosen, tmp_path / "run", monkeypatch)
    engine = CompactSegmenter((1,), 16, "symmetric", 0, 20)
    save_model(mine, engine, "compact", OPTIONS, {1: "organoid"}, 0.3, {})
    with pytest.raises(UsageError, match="started with the teacher"):
        train(chosen, tmp_path / "run", resume=True, reporter=silent)


def test_a_teacher_of_other_classes(data: Path, tmp_path: Path) -> None:
    other = save_teacher(tmp_path / "other", {1: "cystic", 2: "budding"})
    with pytest.raises(DataError, match="1 cystic, 2 budding"):
        train(parse_recipe(tree(data, other)), tmp_path / "run", reporter=silent)
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_finds_nothing(data: Path, tmp_path: Path) -> None:
    blind = save_teacher(tmp_path / "blind", {1: "organoid"}, blind=True)
    with pytest.raises(DataError, match="finds nothing"):
        train(parse_recipe(tree(data, blind)), tmp_path / "run", reporter=silent)
    assert not (tmp_path / "run").exists()


def test_an_archive_of_labelled_images(data: Path, teacher: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(2):
        name = f"image_{number}.png"
        (archive / name).write_bytes((data / "images" / name).read_bytes())
    made = tree(data, teacher)
    made["data"]["unlabelled"] = str(archive)
    with pytest.raises(DataError, match="images of the archive are labelled ones"):
        train(parse_recipe(made), tmp_path / "run", reporter=silent)


@pytest.mark.usefixtures("fake_engine")
def test_an_engine_that_cannot_imitate(data: Path, teacher: Path, tmp_path: Path) -> None:
    made = tree(data, teacher)
    made["model"] = {"engine": "fake", "options": {}}
    with pytest.raises(UsageError, match="cannot imitate"):
        train(parse_recipe(made), tmp_path / "run", reporter=silent)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"match": 0}, "match"),
        ({"first_order": -1}, "first_order"),
        ({"pool": 5}, "no meaning here"),
        ({"copy_paste": 0.5}, "no meaning here"),
        ({"teacher_zooms": []}, "teacher_zooms"),
    ],
)
def test_recipes_that_cannot_be_meant(
    data: Path, teacher: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        parse_recipe(tree(data, teacher, **change))
