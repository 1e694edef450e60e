"""The data cards of the repository, and what programs make of them."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from organoseg.core import DataError
from organoseg.dataset.card import croissant, read_card, write_croissant
from organoseg.dataset.card.card import SECTIONS, parse_card

CARDS = Path(__file__).resolve().parents[3] / "data_cards"
NAMES = sorted(path.stem for path in CARDS.glob("*.md"))
#: Croissant 1.1, required for every set.
REQUIRED = {
    "@context", "@type", "conformsTo", "name", "description", "url", "license", "creator", "datePublished",
    "distribution",
}  # fmt: skip
EXAMPLE = (CARDS / "synthetic.md").read_text()


def test_there_is_a_card_for_every_set() -> None:
    wanted = {"m_orgaquant", "orgasegment", "organoid", "multiorg", "orgaquant", "synthetic"}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_finished(name: str) -> None:
    card = read_card(CARDS / f"{name}.md")
    assert card.blanks() == []
    assert tuple(card.sections) == SECTIONS
    # A licence that was not looked at is never passed on, and says so.
    if card.facts.license == "unknown":
        assert card.facts.license_name
        assert not card.facts.redistribution


@pytest.mark.parametrize("name", NAMES)
def test_croissant_has_what_its_specification_requires(name: str) -> None:
    made = croissant(read_card(CARDS / f"{name}.md"))
    assert set(made) >= REQUIRED
    assert made["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert all(made[field] for field in REQUIRED)
    ids = [part["@id"] for part in made["distribution"]]
    assert len(ids) == len(set(ids))
    pinned = [part for part in made["distribution"] if part["@type"] == "cr:FileObject"]
    assert made["isLiveDataset"] == any("sha256" not in part for part in pinned)
    for part in pinned:
        assert re.fullmatch("[0-9a-f]{64}", part.get("sha256", "0" * 64))
    inside = [p["containedIn"]["@id"] for p in made["distribution"] if "containedIn" in p]
    assert set(inside) <= set(ids)
    fields = [field for records in made["recordSet"] for field in records["field"]]
    sources = [f["source"] for f in fields if "source" in f]
    named = {s.get("fileSet", s.get("fileObject"))["@id"] for s in sources}
    assert named <= set(ids)


@pytest.mark.parametrize("name", NAMES)
def test_mlcommons_own_loader_takes_the_croissant(name: str, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip(
        "mlcroissant", reason="mlcroissant is not installed (part `dev`): only our own checks were made"
    )  # fmt: skip
    path = tmp_path / "croissant.json"
    write_croissant(read_card(CARDS / f"{name}.md"), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = mlcroissant.Dataset(str(path))
    assert not loaded.metadata.ctx.issues.errors
    assert not loaded.metadata.ctx.issues.warnings
    assert loaded.metadata.ctx.is_v1_1()


def test_markdown_becomes_plain_text() -> None:
    made = croissant(read_card(CARDS / "m_orgaquant.md"))
    assert "](" not in json.dumps(made)
    assert "`" not in made["description"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("---\n", "", 1), "does not begin with front matter"),
        (("overlaps: true", "overlaps: [", 1), "not valid YAML"),
        (("license: bsd-3-clause", "licence: bsd-3-clause", 1), "licence"),
        (("## Known faults", "## Faults", 1), "lacks the sections Known faults"),
        (('date_published: "2026"', "date_published: last year", 1), "date_published"),
    ],
)
def test_a_wrong_card_says_what_is_wrong(change: tuple[str, str, int], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)) as error:
        parse_card(EXAMPLE.replace(*change), Path("card.md"))
    assert error.value.where == "card.md"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("subject: spherical", "subject: FILL IN, spherical", 1), "subject"),
        (('creators: ["The organoseg developers"]\n', "", 1), "creators"),
    ],
)
def test_croissant_is_not_made_of_an_unfinished_card(change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        croissant(parse_card(EXAMPLE.replace(*change), Path("card.md")))


def test_the_checksum_of_m_orgaquant_is_that_of_the_file_at_hand(shared: Path) -> None:
    from organoseg.core import file_hash

    (val,) = (
        f for f in read_card(CARDS / "m_orgaquant.md").facts.files if f.name == "instances_val.json"
    )
    assert file_hash(shared / "data" / "m_orgaquant" / "instances_val.json") == val.sha256


def test_cards_and_downloads_agree() -> None:
    """A set that `organoseg data fetch` knows has a card with the same address and checksum."""
    sources = pytest.importorskip(
        "organoseg.dataset.sources.catalogue", reason="the catalogue of public sets is not there"
    )
    for public in sources.CATALOGUE.values():
        facts = read_card(CARDS / f"{public.name.replace('-', '_')}.md").facts
        assert facts.pretty_name == public.title
        if public.url is None:
            continue
        (archive,) = (file for file in facts.files if file.role == "archive")
        assert archive.url == public.url.partition("?")[0]
        pinned = public.checksum.removeprefix("sha256:") if public.checksum else None
        assert archive.sha256 == pinned
