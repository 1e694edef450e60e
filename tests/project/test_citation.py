"""CITATION.cff is valid: by cffconvert where that is installed, and by our own check of the format's rules."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

#: Keys of Citation File Format 1.2.0, at the top and in a reference.
TOP = {
    "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords",
    "license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact",
    "repository-code", "title", "type", "url", "version",
}  # fmt: skip
REFERENCE = {
    "abstract", "authors", "collection-title", "conference", "date-released", "doi", "end", "journal", "month", "notes",
    "start", "title", "type", "url", "version", "volume", "year",
}  # fmt: skip
PERSON = {
    "affiliation",
    "alias",
    "email",
    "family-names",
    "given-names",
    "name-particle",
    "name-suffix",
    "orcid",
    "website",
}
ENTITY = {"name", "alias", "email", "website", "address", "city", "country", "orcid"}


@pytest.fixture(scope="module")
def citation(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "CITATION.cff").read_text())


def test_the_format_knows_every_key(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert set(citation) <= TOP
    assert {"authors", "cff-version", "message", "title"} <= set(citation)
    assert citation["type"] in ("software", "dataset")
    for reference in (citation["preferred-citation"], *citation["references"]):
        assert set(reference) <= REFERENCE
        assert {"authors", "title", "type"} <= set(reference)


def test_authors_are_people_or_entities(citation: dict[str, Any]) -> None:
    works = [citation, citation["preferred-citation"], *citation["references"]]
    for author in (a for work in works for a in work["authors"]):
        assert set(author) <= PERSON or ("name" in author and set(author) <= ENTITY), author


def test_values_have_the_form_that_the_format_asks_for(citation: dict[str, Any]) -> None:
    assert isinstance(citation["version"], str)
    assert all(isinstance(word, str) for word in citation["keywords"])
    assert len(set(citation["keywords"])) == len(citation["keywords"])
    assert re.fullmatch(r"[\w.-]+", citation["license"])
    for reference in citation["references"]:
        assert isinstance(reference.get("year", 2000), int)
        assert reference["url"].startswith("https://")
    released = citation.get("date-released")
    assert released is None or re.fullmatch(r"\d{4}-\d\d-\d\d", str(released))


def test_cffconvert_takes_it(repository: Path) -> None:
    if importlib.util.find_spec("cffconvert") is None:
        pytest.skip("cffconvert is not installed (it asks for an older jsonschema than ours)")
    command = [sys.executable, "-m", "cffconvert", "--validate"]
    subprocess.run(command, cwd=repository, check=True)
