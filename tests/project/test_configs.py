"""The recipes that ship are valid, say what they are named after, and are all there is."""

import re
from importlib import resources
from pathlib import Path

import pytest

from organoseg.models.mask2former.options import parse_options
from organoseg.models.published import CATALOGUE
from organoseg.training.methods import Guided, Supervised
from organoseg.training.recipe import Recipe, load_recipe
from organoseg.training.run import train
from tests.training.tiny import recipe as training_recipe
from tests.training.tiny import write_data

COMPACT = ("guided.yaml", "paper.yaml", "supervised.yaml")
#: Of the methods that have a page under docs/methods.
FAMILY = ("class_agnostic.yaml", "fast_student.yaml", "mutual.yaml")
MASK2FORMER = (
    "organoid_mask2former_dinov2_s.yaml",
    "organoid_mask2former_r50.yaml",
    "organoid_mask2former_swin_t.yaml",
    "paper_mask2former_r50.yaml",
    "tiny.yaml",
)
NAMES = (*COMPACT, *FAMILY, *MASK2FORMER)


CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def recipe(name: str) -> Recipe:
    return load_recipe(CONFIGS / name)


def test_recipes_ship_with_the_package() -> None:
    shipped = resources.files("organoseg.configs")
    assert [name for name in NAMES if not (shipped / name).is_file()] == []


def test_no_recipe_is_untested_or_unmentioned(repository: Path) -> None:
    found = {path.name for path in (repository / "configs").glob("**/*.yaml")}
    assert {n for n in found if not n.startswith("detectron2_")} == set(NAMES)
    readme = (repository / "README.md").read_text()
    pages = "".join(page.read_text() for page in (repository / "docs").rglob("*.md"))
    for name in found:
        assert f"configs/{name}" in readme + pages
    for name in COMPACT:
        assert f"configs/{name}" in readme
    assert "RECIPE" not in readme


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_valid_and_its_paths_start_from_its_folder(repository: Path, name: str) -> None:
    loaded = load_recipe(repository / "configs" / name)
    assert loaded.data.labelled.images == repository / "configs" / "labels"
    assert loaded.model.engine == ("mask2former" if name in MASK2FORMER else "compact")
    model = loaded.model
    assert model.encoder_weights in CATALOGUE or model.options["start"] == "starter"


@pytest.mark.parametrize("name", MASK2FORMER)
def test_options_are_the_engines_and_weights_fit_the_backbone(name: str) -> None:
    model = recipe(name).model
    options = parse_options({**model.options, "queries": 100})
    weights = CATALOGUE[model.encoder_weights or ""]
    assert (weights.backbone, weights.kind) == (options.backbone, "backbone")


@pytest.mark.parametrize("name", MASK2FORMER)
def test_what_a_comment_offers_works(repository: Path, name: str) -> None:
    """Lines that a user is told to uncomment name things that exist."""
    text = (repository / "configs" / name).read_text()
    for start in re.findall(r"^ +# start: (\S+)$", text, re.MULTILINE):
        assert CATALOGUE[start].kind == "whole"
        assert CATALOGUE[start].queries == 100
        assert CATALOGUE[start].backbone == recipe(name).model.options["backbone"]


def test_the_paper_on_its_own_architecture() -> None:
    """Every value of the paper (reference: the released configurations of Mask2Former and Guided Distillation)."""
    paper = recipe("paper_mask2former_r50.yaml")
    method, training = paper.method, paper.training
    assert isinstance(method, Guided)
    assert method.preset == "paper"
    options = parse_options(paper.model.options)
    assert (options.backbone, options.queries, options.hidden) == ("resnet50", 100, 256)
    assert (options.ffn, options.encoder_ffn, options.heads) == (2048, 1024, 8)
    assert (options.encoder_layers, options.decoder_layers) == (6, 9)
    assert (options.points, options.oversample, options.importance) == (12544, 3.0, 0.75)
    weights = (options.class_weight, options.mask_weight, options.dice_weight)
    assert (*weights, options.no_object_weight) == (2.0, 5.0, 5.0, 0.1)
    assert (options.frozen_norms, options.backbone_rate, options.mask_nms) == (False, 0.1, None)
    assert (method.accept, method.decay, method.half_life) == (0.7, 0.9996, None)
    assert (method.unlabelled_weight, method.teacher_precision) == (2.0, "fp32")
    assert (method.strong, method.pool, method.views, method.copy_paste) == ("paper", 0, 1, 0.0)
    assert (method.guard, method.average, method.unlabelled_includes_labelled) == (
        False,
        False,
        True,
    )
    assert (training.steps, training.batch, training.precision) == (90_000, 16, "fp16")
    assert (training.learning_rate, training.weight_decay, training.clip) == (1e-4, 0.05, 0.01)
    assert (training.schedule, training.warmup) == ("poly", 0)
    assert training.augmentation.scale == (0.5, 2.0)
    assert method.teacher_steps == training.steps


def test_what_the_paper_recipe_spells_out_is_what_the_preset_says() -> None:
    spelled = recipe("paper_mask2former_r50.yaml")
    tree = spelled.model_dump(mode="json")
    kept = ("steps", "batch", "precision", "augmentation", "validate_every", "checkpoint_every")
    crop = {k: tree["training"]["augmentation"][k] for k in ("crop", "geometry")}
    bare = Recipe.model_validate(
        {
            "data": tree["data"], "model": tree["model"],
            "method": {"name": "guided", "preset": "paper", "teacher_steps": 90_000, "burn_in": 0.33},
            "training": {**{k: tree["training"][k] for k in kept}, "augmentation": crop},
        }
    )  # fmt: skip
    assert spelled == bare


def test_organoid_recipes_differ_in_the_backbone_alone() -> None:
    found = [recipe(n) for n in MASK2FORMER if n.startswith("organoid")]
    assert {r.method for r in found} == {found[0].method}
    assert {r.training for r in found} == {found[0].training}
    assert len({r.model.options["backbone"] for r in found}) == 3


def test_tiny_learns_a_few_steps(tmp_path: Path) -> None:
    """From random weights, so that nothing is downloaded, on images of a few px."""
    pytest.importorskip("transformers", reason="the extra 'mask2former' is not installed")
    data = write_data(tmp_path)
    tree = recipe("tiny.yaml").model_dump(mode="json")
    labelled = training_recipe(data)["data"]["labelled"]
    tree["data"] = {"labelled": {**labelled, "names": ["image_0.png"]}}
    tree["model"]["encoder_weights"] = None
    small = {"steps": 2, "batch": 2, "checkpoint_every": 2, "device": "cpu", "threads": 1}
    tree["training"] |= small | {"augmentation": {"crop": 64}, "workers": 0}
    train(Recipe.model_validate(tree), tmp_path / "run")
    assert (tmp_path / "run" / "model" / "weights.safetensors").is_file()


def test_guided_and_supervised_differ_in_the_method_alone() -> None:
    plain, guided = recipe("supervised.yaml"), recipe("guided.yaml")
    assert isinstance(plain.method, Supervised)
    assert isinstance(guided.method, Guided)
    assert guided.method.preset == "organoid"
    assert (plain.training, plain.model) == (guided.training, guided.model)


def test_paper_keeps_the_published_numbers() -> None:
    paper = recipe("paper.yaml")
    assert isinstance(paper.method, Guided)
    assert (paper.method.accept, paper.method.decay, paper.method.unlabelled_weight) == (
        0.7,
        0.9996,
        2.0,
    )
    assert (paper.training.learning_rate, paper.training.clip) == (1e-4, 0.01)
    assert not paper.method.guard


@pytest.mark.parametrize("name", ["guided.yaml", "mutual.yaml", "supervised.yaml"])
def test_what_a_recipe_spells_out_is_the_default(name: str) -> None:
    """A default that was bettered must not live on in a file that people copy."""
    spelled = recipe(name)
    tree = spelled.model_dump(mode="json")
    bare = Recipe.model_validate({"data": tree["data"], "method": {"name": tree["method"]["name"]}})
    # Two networks that begin as the same one differ less: it names its start.
    if name == "mutual.yaml":
        assert "start" not in spelled.model.options
        bare = bare.model_copy(update={"model": spelled.model})
    assert spelled == bare
