"""The files around the code agree with each other and with the code."""

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import organoseg
from organoseg.cli.main import VERBS


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def citation(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "CITATION.cff").read_text())


def test_one_version_everywhere(
    repository: Path, pyproject: dict[str, Any], citation: dict[str, Any]
) -> None:
    version = organoseg.__version__
    assert pyproject["project"]["version"] == version
    assert citation["version"] == version
    assert citation["preferred-citation"]["version"] == version
    assert version in (repository / "CHANGELOG.md").read_text()


def test_citation_names_the_method(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert citation["preferred-citation"]["type"] == "software"
    (paper,) = citation["references"]
    assert paper["authors"][0]["family-names"] == "Berrada"


def test_every_package_is_installed(repository: Path, pyproject: dict[str, Any]) -> None:
    roots = {"organoseg": "organoseg", "configs": "organoseg.configs"}
    roots["napari_plugin"] = "organoseg_napari"
    found = set()
    for folder, package in roots.items():
        for init in (repository / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(repository / folder).parts
            found.add(".".join((package, *parts)))
    assert set(pyproject["tool"]["setuptools"]["packages"]) == found


def test_every_module_lies_in_a_package(repository: Path) -> None:
    folders = {path.parent for path in (repository / "organoseg").rglob("*.py")}
    assert [f for f in folders if not (f / "__init__.py").exists()] == []


def test_constraints_pin_what_is_needed_within_the_floors(
    repository: Path, pyproject: dict[str, Any]
) -> None:
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    tested = (extras[name] for name in ("dev", "napari", "window"))
    for text in chain(project["dependencies"], *tested):
        need = Requirement(text)
        assert need.specifier.contains(pins[need.name.lower().replace("_", "-")]), text
        assert {clause.operator for clause in need.specifier} == {">="}, "floors only"


@pytest.mark.parametrize("name", ["m_orgaquant", "synthetic"])
def test_data_cards_have_facts_and_sections(repository: Path, name: str) -> None:
    text = (repository / "data_cards" / f"{name}.md").read_text()
    _, front, body = text.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert {"name", "license", "modality", "annotation", "redistribution"} <= set(facts)
    sections = re.findall(r"^## (.+)$", body, re.MULTILINE)
    assert {"Motivation", "Composition", "How organoseg uses it", "Limits"} <= set(sections)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/architecture.md",
        "docs/archive.md",
        "docs/benchmarks.md",
        "docs/detectron2.md",
        "docs/napari.md",
        "docs/experiments.md",
        "docs/mask2former.md",
        "docs/methods/class_agnostic.md",
        "docs/predict.md",
    ],
)
def test_links_lead_somewhere(repository: Path, name: str) -> None:
    page = repository / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_readme_names_only_verbs_that_exist(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    named = re.findall(r"^ +(?:\.venv/bin/)?organoseg (\w+)", text, re.MULTILINE)
    assert named
    assert set(named) <= set(VERBS)


def test_readme_names_only_make_targets_that_exist(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    named = re.findall(r"^ +(?:\S+=\S+ )?make (\w+)", (repository / "README.md").read_text(), re.M)
    assert {"demo", "test"} <= set(named) <= targets
