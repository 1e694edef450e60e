"""The recipes that ship are valid, say what they are named after, and are all there is."""

from importlib import resources
from pathlib import Path

import pytest

from organoseg.training.recipe import Guided, Recipe, Supervised, load_recipe

NAMES = ("guided.yaml", "paper.yaml", "supervised.yaml")


def recipe(name: str) -> Recipe:
    with resources.as_file(resources.files("organoseg.configs") / name) as path:
        return load_recipe(path)


def test_no_recipe_is_untested_or_unmentioned(repository: Path) -> None:
    assert sorted(path.name for path in (repository / "configs").glob("**/*.yaml")) == list(NAMES)
    readme = (repository / "README.md").read_text()
    for name in NAMES:
        assert f"configs/{name}" in readme
    assert "RECIPE" not in readme


@pytest.mark.parametrize("name", NAMES)
def test_recipe_is_valid_and_its_paths_start_from_its_folder(repository: Path, name: str) -> None:
    loaded = load_recipe(repository / "configs" / name)
    assert loaded.data.labelled.images == repository / "configs" / "labels"
    assert loaded.model.engine == "compact"


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


@pytest.mark.parametrize("name", ["guided.yaml", "supervised.yaml"])
def test_what_a_recipe_spells_out_is_the_default(name: str) -> None:
    """A default that was bettered must not live on in a file that people copy."""
    spelled = recipe(name)
    tree = spelled.model_dump(mode="json")
    bare = Recipe.model_validate({"data": tree["data"], "method": {"name": tree["method"]["name"]}})
    assert spelled == bare
