"""A data card: a Markdown file whose front matter holds the facts and whose sections tell the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from organoseg.core import DataError
from organoseg.dataset.card.facts import BLANK, CardFacts

#: The sections of a card, after the questions of Datasheets for Datasets (Gebru et al., arXiv 1803.09010).
SECTIONS = (
    "Motivation",
    "Composition",
    "Collection and labelling",
    "How organoseg uses it",
    "How AP has been reported",
    "Known faults",
    "Limits",
    "Distribution",
)


@dataclass(frozen=True)
class Card:
    """Facts, and the text under each heading of the second level, in order."""

    facts: CardFacts
    title: str
    sections: dict[str, str]

    def blanks(self) -> list[str]:
        """What a person has yet to fill in: fields of the front matter, then sections."""
        return self.facts.blanks() + [name for name, text in self.sections.items() if BLANK in text]


def read_card(path: Path) -> Card:
    """A card from disk; DataError when it has no front matter, a wrong field or lacks a section."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError("There is no such data card", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The data card cannot be read: {error}", where=path) from error
    return parse_card(text, path)


def parse_card(text: str, path: Path) -> Card:
    """A card from its text; `path` names it in errors, which are those of `read_card`."""
    front, body = _parts(text, path)
    sections = _sections(body)
    missing = [name for name in SECTIONS if not sections.get(name)]
    if missing:
        raise DataError(
            f"The data card lacks the sections {', '.join(missing)}",
            where=path,
            remedy="Write them under headings of the second level (##), if only to say that nobody knows.",
        )
    title = re.search(r"^# (.+)$", body, re.MULTILINE)
    facts = _facts(front, path)
    return Card(facts, title.group(1).strip() if title else facts.pretty_name, sections)


def _parts(text: str, path: Path) -> tuple[Any, str]:
    match = re.match(r"---\n(.*?)\n---\n(.*)", text.replace("\r\n", "\n"), re.DOTALL)
    if match is None:
        raise DataError(
            "The data card does not begin with front matter between two lines of ---",
            where=path,
            remedy="Copy the beginning of another card.",
        )
    try:
        return yaml.safe_load(match.group(1)), match.group(2)
    except yaml.YAMLError as error:
        raise DataError(f"The front matter is not valid YAML: {error}", where=path) from error


def _sections(body: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", body, flags=re.MULTILINE)
    return {name.strip(): text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _facts(front: Any, path: Path) -> CardFacts:
    try:
        return CardFacts.model_validate(front)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        words = "; ".join(
            f"{'.'.join(map(str, f['loc'])) or 'all'}: {f['msg']}" for f in faults[:5]
        )
        raise DataError(
            f"The front matter of the data card is wrong: {words}",
            where=path,
            remedy="Mend these fields; data_cards/ in organoseg has examples.",
        ) from error
