"""Runs of mutual distillation: stages, pools of two teachers, resume, and engines of two kinds."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from benchmarks.kill_resume import differences
from organoseg.core import Instances, Mask, UsageError
from organoseg.distill.agreement import ALONE
from organoseg.distill.mutual import MutualIteration
from organoseg.distill.pool import Picture, Pool, load_pool, two_fold
from organoseg.distill.pseudo_labels import OrganoidFilter
from organoseg.distill.schedule import Phase
from organoseg.distill.views import STRONG, Geometry
from organoseg.models.folder import load_module, read_description
from organoseg.training import checkpoint as files
from organoseg.training.feed import PooledFeed, TwoFoldFeed
from organoseg.training.loop import Loop
from organoseg.training.progress import silent
from organoseg.training.recipe import load_recipe, parse_recipe
from organoseg.training.run import train
from tests.training.tiny import recipe, write_recipe

METHOD = {
    "name": "mutual", "teacher_steps": 2, "burn_in": 0.5, "half_life": 3, "unlabelled_batch": 2,
    "pool": 2, "pool_zooms": [1.0], "guard": False, "if_nothing": "go_on", "accept": 0.0, "ignore": 0.0,
    "cut_mix": 0.5, "cross_weight": 0.5, "feature_augmentation": 1.5,
}  # fmt: skip
#: Six steps: two of the teachers, two of each other stage; a checkpoint after each.
TRAINING = {"steps": 4, "checkpoint_every": 1, "validate_every": 4, "keep": 10, "precision": "fp32"}


def tree(data: Path, **more: Any) -> dict[str, Any]:
    """A recipe of a pair, with everything switched on; one labelled image, so that little is looked at in the end."""
    sections = more.pop("sections", {})
    made = recipe(data, training={**TRAINING, **more.pop("training", {})}, **sections)
    made["data"]["labelled"]["names"] = ["image_0.png"]
    made["data"]["validation"] = None
    made["method"] = {k: v for k, v in {**METHOD, **more}.items() if v != "default"}
    return made


class Enough(KeyboardInterrupt):
    """A kill, as far as a process can kill itself and go on."""


def stopped_at(step: int) -> Any:
    def stop(event: str, facts: Any) -> None:
        if event == "step" and facts["step"] == step:
            raise Enough

    return stop


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The recipe and the folder of a run that nobody disturbed: compact beside a wider compact."""
    folder = tmp_path_factory.mktemp("mutual")
    partner = {"engine": "compact", "encoder_weights": None, "options": {"width": 32}}
    path = write_recipe(folder / "recipe.yaml", tree(data, partner=partner))
    train(path, folder / "run", reporter=silent)
    return path, folder / "run"


def test_a_run_leaves_both_members_and_says_which_is_the_model(whole: tuple[Path, Path]) -> None:
    _, run = whole
    found = json.loads((run / "result.json").read_text())
    assert any("the model is" in note for note in found["notes"])
    widths = {
        name: load_module(run / name)[0].options["width"]  # type: ignore[index, union-attr]
        for name in ("model", "student", "partner")
    }
    assert widths["model"] == widths["student"]
    assert {widths["model"], widths["partner"]} == {16, 32}
    assert read_description(run / "model").trained_with["method"] == "mutual"
    assert found["method"] == "mutual"


def test_what_each_teacher_said_lies_in_a_file_of_its_own(whole: tuple[Path, Path]) -> None:
    _, run = whole
    names = {path.name for path in (run / "pseudo_labels").iterdir()}
    assert names == {"burn_in.a.json", "burn_in.b.json", "mutual.a.json", "mutual.b.json"}
    first, second = (load_pool(run / "pseudo_labels" / f"burn_in.{n}.json") for n in "ab")
    assert first.indices == second.indices


@pytest.mark.parametrize("step", [4, 6])
def test_killed_and_resumed_it_has_the_same_bits(
    whole: tuple[Path, Path], tmp_path: Path, step: int
) -> None:
    """With the first pools, and after the switch."""
    path, run = whole
    with pytest.raises(Enough):
        train(path, tmp_path / "run", reporter=stopped_at(step))
    train(path, tmp_path / "run", resume=True, reporter=silent)
    assert differences(run, tmp_path / "run") == []
    notes = [json.loads((r / "result.json").read_text())["notes"] for r in (run, tmp_path / "run")]
    assert notes[0] == notes[1]
    kept = files.read(files.latest(run / "checkpoints")).tensors  # what `differences` looked at
    assert {"student.kept.a.variance", "teacher.members.b.network.score.weight"} <= kept.keys()


class Watched:
    """Runs a recipe and keeps what each step looked like."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, made: dict[str, Any], out: Path) -> None:
        self.steps: list[dict[str, Any]] = []
        self.loop: Any = None
        step, run = MutualIteration.__call__, Loop.run

        def watched_step(it: Any, phase: Phase, switching: bool, *feeds: Any) -> Any:
            report = step(it, phase, switching, *feeds)
            spreads = [getattr(m, "spread", None) for m in it.student]
            self.steps.append(
                {
                    "phase": phase,
                    "switching": switching,
                    "rules": it.rules,
                    "ratios": [s.ratio for s in spreads if s is not None],
                    "student": {k: v.clone() for k, v in it.student.state_dict().items()},
                    "teacher": {k: v.clone() for k, v in it.teacher.state_dict().items()},
                    "losses": set(report.losses),
                }
            )
            return report

        def watched_run(loop: Loop) -> Any:
            self.loop = loop
            return run(loop)

        monkeypatch.setattr(MutualIteration, "__call__", watched_step)
        monkeypatch.setattr(Loop, "run", watched_run)
        self.recipe = parse_recipe(made)
        train(self.recipe, out, reporter=silent)


@pytest.fixture
def fakes(data: Path, fake_engine: None) -> dict[str, Any]:
    """A recipe of two engines of two numbers."""
    return tree(
        data, feature_augmentation=0.0, sections={"model": {"engine": "fake", "options": {}}}
    )


def test_stages_seeds_and_the_switch(
    monkeypatch: pytest.MonkeyPatch, fakes: dict[str, Any], tmp_path: Path
) -> None:
    watched = Watched(monkeypatch, fakes, tmp_path / "run")
    steps = watched.steps
    assert [s["phase"] for s in steps] == (
        [Phase.TEACHER] * 2 + [Phase.BURN_IN] * 2 + [Phase.MUTUAL] * 2
    )
    assert [s["switching"] for s in steps] == [False] * 4 + [True, False]
    names = ("members.a.weight", "members.b.weight")
    starts = [float(s["student"][n][0]) for s in (steps[0], steps[2]) for n in names]
    assert len({round(v, 2) for v in starts}) == 4  # four networks, four seeds
    for name in names:
        assert torch.equal(steps[2]["teacher"][name], steps[3]["teacher"][name])
    decay = 0.5 ** (1 / 3)
    for before, after in pairwise(steps[4:]):
        for name in names:
            expected = decay * before["teacher"][name] + (1 - decay) * before["student"][name]
            assert torch.allclose(after["teacher"][name], expected, atol=1e-6)
    assert not any(k.startswith(("unlabelled", "cross")) for k in steps[1]["losses"])
    assert {"unlabelled_a/a", "unlabelled_b/a", "cross_a/a", "cross_b/b"} <= steps[2]["losses"]


def test_the_paper_has_no_burn_in_and_averages_that_follow_closely_at_first(
    monkeypatch: pytest.MonkeyPatch, fakes: dict[str, Any], tmp_path: Path
) -> None:
    """methods.md, 5: initial copy, momentum min(1 - 1/it, .6); 1.5 and 1.0; CutMix; features up to 1.5."""
    fakes["method"] = {
        "name": "mutual",
        "preset": "paper",
        "unlabelled_batch": 2,
        "feature_augmentation": 0,
    }
    watched = Watched(monkeypatch, fakes, tmp_path / "run")
    assert [s["phase"] for s in watched.steps] == [Phase.MUTUAL] * 4
    assert [s["switching"] for s in watched.steps] == [True] + [False] * 3
    assert [s["rules"].decay for s in watched.steps] == pytest.approx([0, 0.5, 0.6, 0.6])
    assert {s["rules"].unlabelled_weight for s in watched.steps} == {1.5}
    paper = parse_recipe({**fakes, "method": {"name": "mutual", "preset": "paper"}})
    method: Any = paper.method
    assert (method.cross_weight, method.cut_mix, method.feature_augmentation) == (1, 1, 1.5)
    assert (method.pool, method.agreement, method.guard, method.strong) == (
        0,
        "off",
        False,
        "paper",
    )
    assert (paper.training.schedule, method.filter) == ("poly", "paper")


def test_features_vary_from_the_students_first_step_on_along_half_a_cosine(
    monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    made = tree(data, cross_weight=0, teacher_steps=1, pool=0, training={"steps": 3})
    watched = Watched(monkeypatch, made, tmp_path / "run")
    ratios = [s["ratios"] for s in watched.steps]
    assert ratios == [[0, 0], [0, 0], pytest.approx([0.75] * 2), pytest.approx([1.5] * 2)]
    counts = [float(s["student"]["kept.a.count"].sum()) for s in watched.steps]
    assert counts[1] == 0  # fresh students have seen nothing yet
    assert counts[3] > counts[2] > 0


def test_two_models_as_teachers_save_their_steps(
    whole: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    _, run = whole
    widths = [load_module(run / n)[0].options["width"] for n in ("model", "partner")]  # type: ignore[index, union-attr]
    given = [
        str(run / n)
        for n, _ in sorted(zip(("model", "partner"), widths, strict=True), key=lambda x: x[1])
    ]
    partner = {"engine": "compact", "encoder_weights": None, "options": {"width": 32}}
    made = tree(data, teachers=given, partner=partner, teacher_steps="default",
                training={"steps": 1})  # fmt: skip
    train(parse_recipe(made), tmp_path / "run", reporter=silent)
    first, second = (
        load_pool(tmp_path / "run" / "pseudo_labels" / f"burn_in.{n}.json") for n in "ab"
    )
    assert len(first) == len(second) == 2
    with pytest.raises(Exception, match="another engine or other options"):
        train(parse_recipe({**made, "method": {**made["method"], "teachers": given[::-1]}}),
              tmp_path / "wrong", reporter=silent)  # fmt: skip


def test_engines_of_two_kinds(fake_engine: None, data: Path, tmp_path: Path) -> None:
    partner = {"engine": "fake", "encoder_weights": None, "options": {}}
    made = tree(data, partner=partner, feature_augmentation=0, training={"steps": 2})
    train(parse_recipe(made), tmp_path / "run", reporter=silent)
    engines = {read_description(tmp_path / "run" / n).engine for n in ("model", "partner")}
    assert engines == {"compact", "fake"}


def test_the_better_member_is_the_model(
    monkeypatch: pytest.MonkeyPatch, fakes: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[Any] = []

    def measured(module: Any, *rest: Any) -> float:
        asked.append(module)
        return float(len(asked))

    monkeypatch.setattr("organoseg.training.stages.mutual.average_precision_of", measured)
    watched = Watched(monkeypatch, fakes, tmp_path / "run")
    assert watched.loop.state.facts.chosen == "b"
    assert watched.loop.stages.outcome() is asked[1]
    saved, _ = load_module(tmp_path / "run" / "model")
    assert torch.equal(saved.weight, asked[1].weight)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"burn_in": 0.5, "teacher_steps": 0, "pool": 0}, "burn_in must be 0"),
        ({"burn_in": 0, "teacher_steps": 0, "pool": 5}, "pool must be 0"),
        ({"partner": {"engines": "compact"}}, "unknown key"),
        ({"agreement": "perhaps"}, "agreement"),
    ],
)
def test_what_cannot_be_is_said(data: Path, method: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_recipe(tree(data, **method))


def test_an_engine_that_keeps_its_features_to_itself_cannot_vary_them(
    fakes: dict[str, Any], tmp_path: Path
) -> None:
    fakes["method"]["feature_augmentation"] = 1.0
    with pytest.raises(UsageError, match="engine fake does not hand out the features"):
        train(parse_recipe(fakes), tmp_path / "run", reporter=silent)
    assert not (tmp_path / "run").exists()


def test_paths_start_from_the_recipes_folder(data: Path, tmp_path: Path) -> None:
    made = tree(data, teachers=["one", "two"])
    path = write_recipe(tmp_path / "recipe.yaml", made)
    assert load_recipe(path).method.teachers == (tmp_path / "one", tmp_path / "two")  # type: ignore[union-attr]
    made["method"] = {"name": "guided", "teacher": "one", "second_teacher": "two"}
    loaded: Any = load_recipe(write_recipe(path, made)).method
    assert (loaded.teacher, loaded.second_teacher) == (tmp_path / "one", tmp_path / "two")


# -- what two teachers said, as a feed --------------------------------------------------------


class Source:
    """Pictures of noise, by number."""

    def read(self, index: int) -> Picture:
        pixels = np.random.default_rng(index).standard_normal((80, 80)).astype(np.float32)
        return Picture(f"p{index}", pixels)


def pool(seed: int) -> Pool:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(3):
        masks = [
            Mask(int(y), int(x), np.ones((14, 14), bool)) for y, x in rng.integers(0, 60, (5, 2))
        ]
        found.append(Instances.from_masks((80, 80), masks, rng.uniform(0.2, 1, 5)))
    return Pool((4, 7, 9), tuple(found), ("p4", "p7", "p9"))


def test_both_students_see_the_same_crop_and_each_what_it_is_taught_there() -> None:
    more = (OrganoidFilter(), 4, 0, Geometry(48), STRONG)
    both = TwoFoldFeed(Source(), two_fold(pool(1), pool(2)), *more)(3)
    for targets, seed in ((both.targets, 1), (both.second, 2)):
        alone = PooledFeed(Source(), pool(seed), *more)(3)
        assert torch.equal(alone.strong, both.strong)
        for ours, theirs in zip(targets or (), alone.targets or (), strict=True):
            assert ours.confidence.tolist() == theirs.confidence.tolist()
            assert (ours.instances.to_dense() == theirs.instances.to_dense()).all()
    with pytest.raises(Exception, match="different images"):
        two_fold(pool(1), Pool((4, 7, 8), pool(1).instances, ("a", "b", "c")))


def test_guided_asks_a_second_teacher_about_its_first_pool(
    whole: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    _, run = whole
    made = recipe(data, training={"steps": 2, "validate_every": 9})
    made["data"]["validation"] = None
    made["method"] |= {"second_teacher": str(run / "partner"), "accept": 0.0, "ignore": 0.0,
                       "teacher_steps": 1, "refine": 0.0}  # fmt: skip
    train(parse_recipe(made), tmp_path / "run", reporter=silent)
    kept = tmp_path / "run" / "pseudo_labels"
    sources = [{s for i in load_pool(kept / n).instances for s in i.sources}
               for n in ("burn_in.json", "mutual.json")]  # fmt: skip
    assert sources[1] <= {""}
    assert sources[0] <= {"", ALONE}
    saved = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert saved["method"]["second_teacher"] == str(run / "partner")


def test_a_partners_queries_are_counted_like_the_first_engines(data: Path) -> None:
    from organoseg.training.crowding import resolve_queries
    from organoseg.training.data import load_data

    partner = {"engine": "mask2former", "encoder_weights": None, "options": {"queries": "auto"}}
    made: Any = parse_recipe(tree(data, partner=partner, feature_augmentation=0))
    found: Any = resolve_queries(made, load_data(made).labelled)
    assert found.method.partner.options == {"queries": 100}
    assert found.model is made.model
    assert made.method.partner.options == {"queries": "auto"}
