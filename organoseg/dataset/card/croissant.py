"""Croissant 1.1: a data card as JSON-LD, which catalogues of data sets and loaders read.

Written from the specification of MLCommons (docs.mlcommons.org/croissant, version 1.1 of 2026-01-29) and its
vocabulary for responsible AI. The card's front matter gives the fields, its sections the texts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from organoseg.core import DataError, write_json
from organoseg.dataset.card.card import Card
from organoseg.dataset.card.facts import CardFacts, CardFile, CardFolder

VERSION = "http://mlcommons.org/croissant/1.1"

#: Terms of the JSON-LD context, as the specification recommends them.
_CR_TERMS = (
    "annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract",
    "field", "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath",
    "key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace",
    "samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    **{term: f"cr:{term}" for term in _CR_TERMS},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}

#: Which section of a card answers which field of the vocabulary for responsible AI.
_RAI = {
    "rai:dataCollection": "Collection and labelling",
    "rai:dataUseCases": "How organoseg uses it",
    "rai:dataLimitations": "Limits",
    "rai:dataBiases": "Known faults",
}
_LICENCES = {
    "bsd-3-clause": "https://spdx.org/licenses/BSD-3-Clause.html",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "mit": "https://spdx.org/licenses/MIT.html",
}
_SPLITS = {
    "train": "cr:TrainingSplit",
    "labelled": "cr:TrainingSplit",
    "val": "cr:ValidationSplit",
    "validation": "cr:ValidationSplit",
    "test": "cr:TestSplit",
    "eval": "cr:TestSplit",
}


def croissant(card: Card) -> dict[str, Any]:
    """The card as a Croissant 1.1 document.

    A set of whose files some have no checksum is described as live: nobody can vouch for their bytes.

    Raises
    ------
    DataError
        The card has blanks in its front matter, or names no file of the set: Croissant asks for both.
    """
    facts = card.facts
    if blanks := facts.blanks():
        raise DataError(
            f"The data card of {facts.name} has blanks that only a person can fill in: {', '.join(blanks)}",
            remedy="Fill them in; Croissant is made from the front matter.",
        )
    required = {"homepage": facts.homepage, "date_published": facts.date_published}
    absent = [name for name, value in required.items() if not value]
    absent += [name for name in ("creators", "files") if not getattr(facts, name)]
    if absent:
        raise DataError(
            f"Croissant needs fields that the data card of {facts.name} leaves out: {', '.join(absent)}"
        )
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": facts.name,
        "description": _plain(f"{card.sections['Motivation']}\n\n{card.sections['Composition']}"),
        "url": facts.homepage,
        "license": _licence(facts),
        "creator": [{"@type": "sc:Person", "name": name} for name in facts.creators],
        "datePublished": facts.date_published,
        "version": facts.version,
        "keywords": ["organoids", "instance segmentation", facts.modality, *facts.tags],
        **({"citeAs": facts.cite_as} if facts.cite_as else {}),
        "isLiveDataset": any(file.sha256 is None for file in facts.files),
        **{field: _plain(card.sections[section]) for field, section in _RAI.items()},
        "distribution": [
            *(_file_object(file) for file in facts.files),
            *(_file_set(folder) for folder in facts.folders),
        ],
        "recordSet": _record_sets(facts),
    }


def write_croissant(card: Card, path: Path) -> None:
    """Write `croissant(card)`; its errors."""
    write_json(path, croissant(card))


def _licence(facts: CardFacts) -> str | dict[str, str]:
    """A URL where there is one; else a work whose name says what is known."""
    link = facts.license_link or _LICENCES.get(facts.license.lower())
    if link:
        return link
    return {"@type": "sc:CreativeWork", "name": facts.license_name or facts.license}


def _file_object(file: CardFile) -> dict[str, Any]:
    made: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.url,
        "encodingFormat": file.format,
    }
    if file.note:
        made["description"] = file.note
    if file.sha256:
        made["sha256"] = file.sha256
    return made


def _file_set(folder: CardFolder) -> dict[str, Any]:
    made: dict[str, Any] = {
        "@type": "cr:FileSet",
        "@id": folder.name,
        "name": folder.name,
        "encodingFormat": folder.format,
        "includes": folder.includes,
    }
    if folder.inside:
        made["containedIn"] = {"@id": folder.inside}
    return made


def _record_sets(facts: CardFacts) -> list[dict[str, Any]]:
    made = [_pictures(folder) for folder in facts.folders]
    made += [_annotations(file) for file in facts.files if file.role == "coco"]
    splits = _splits(facts)
    return [*made, splits] if splits else made


def _pictures(folder: CardFolder) -> dict[str, Any]:
    key = f"{folder.name}_records"
    source = {"fileSet": {"@id": folder.name}}
    return {
        "@type": "cr:RecordSet",
        "@id": key,
        "name": key,
        "key": {"@id": f"{key}/file_name"},
        "field": [
            _field(key, "file_name", "sc:Text", source, {"fileProperty": "filename"}),
            _field(key, "content", "sc:ImageObject", source, {"fileProperty": "content"}),
        ],
    }


def _annotations(file: CardFile) -> dict[str, Any]:
    """The organoids of a COCO file: one record an annotation.

    Their masks are not among the fields: the specification has a type for them that its own loader (mlcroissant 1.1)
    refuses, and no other says what a run length is.
    """
    key = f"{Path(file.name).stem}_organoids"
    source = {"fileObject": {"@id": file.name}}
    kinds = {
        "id": "sc:Integer",
        "image_id": "sc:Integer",
        "category_id": "sc:Integer",
        "area": "sc:Float",
        "bbox": "cr:BoundingBox",
    }
    fields = [
        _field(key, name, kind, source, {"jsonPath": f"$.annotations[*].{name}"})
        for name, kind in kinds.items()
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": key,
        "name": key,
        "key": {"@id": f"{key}/id"},
        "field": fields,
    }


def _field(
    key: str, name: str, kind: str, source: dict[str, Any], extract: dict[str, str]
) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{key}/{name}",
        "name": name,
        "dataType": kind,
        "source": {**source, "extract": extract},
    }


def _splits(facts: CardFacts) -> dict[str, Any] | None:
    """The splits as an enumeration, the way the specification has them."""
    if not isinstance(facts.images, dict):
        return None
    rows = []
    for name in facts.images:
        known = _SPLITS.get(name.partition("_")[0])
        rows.append({"splits/name": name, **({"splits/url": known} if known else {})})
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split" if all("splits/url" in row for row in rows) else "sc:Enumeration",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": "sc:URL"},
        ],
        "data": rows,
    }


def _plain(markdown: str) -> str:
    """Markdown as text: links by their words, no marks, paragraphs as lines."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)
    text = re.sub(r"[`*]", "", text)
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n".join(re.sub(r"\s*\n\s*", " ", paragraph) for paragraph in paragraphs)
