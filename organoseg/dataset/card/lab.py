"""A data card for a lab's own set: what can be measured is written, what only people know is left blank."""

from __future__ import annotations

import mimetypes
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from organoseg.core import file_hash, write_text
from organoseg.dataset.card.card import SECTIONS
from organoseg.dataset.card.facts import BLANK, CardFacts
from organoseg.dataset.card.statistics import SetStatistics, Spread

#: The most groups that are listed by name.
LISTED = 12

#: What a person is asked, under the heading where the answer belongs.
_QUESTIONS: dict[str, tuple[str, ...]] = {
    "Motivation": ("Why was this set made, by whom, and with whose money?",),
    "Composition": (
        "What is in the images: organism, tissue, passage, culture, day, treatments?",
        "Which images were left out, and why?",
    ),
    "Collection and labelling": (
        "Microscope, objective, camera, illumination, focus; what was done to the images since?",
        "Who outlined the organoids, with which tool, by which rule (whole organoids also under others? those out of "
        "focus?), in how much time; did a second person outline some, and how well did the two agree?",
        "Consent and ethics, where the cells came from people.",
    ),
    "How organoseg uses it": ("Which models are trained and which figures measured on it?",),
    "How AP has been reported": ("Which figures have been published, on which images, by which definition of AP?",),
    "Known faults": ("What would somebody be surprised by?",),
    "Limits": ("For which images and questions does it say nothing?",),
    "Distribution": ("Who may have it, under which licence, from where; who answers questions?",),
}  # fmt: skip


def write_lab_card(
    path: Path, name: str, statistics: SetStatistics, annotations: Path, images: Path
) -> CardFacts:
    """Write the card of a lab's own set and return its facts, some of them `BLANK`.

    Raises
    ------
    RunError
        The file cannot be written.
    """
    facts = _facts(path, name, statistics, annotations, images)
    told = facts.model_dump(
        mode="json", exclude_defaults=True, exclude={"task_categories", "task_ids"}
    )
    front = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110)
    parts = [f"---\n{front}---\n", f"# {name}\n", _introduction()]
    measured = {"Composition": _composition(statistics), "Known faults": _faults(statistics)}
    for section in SECTIONS:
        blanks = [f"> **{BLANK}:** {question}" for question in _QUESTIONS[section]]
        lines = [*measured.get(section, []), "\n>\n".join(blanks)]
        parts.append(f"## {section}\n\n" + "\n\n".join(lines) + "\n")
    write_text(path, "\n".join(parts))
    return facts


def _introduction() -> str:
    return (
        f"Written by `organoseg data card`. Everything stated was measured; every **{BLANK}** is a question that only "
        "you can answer. Answer it and delete the mark, also in the lines at the top.\n"
    )


def _facts(
    path: Path, name: str, found: SetStatistics, annotations: Path, images: Path
) -> CardFacts:
    blank = BLANK
    sides = {side.name: side.images for side in found.sides}
    sizes = [size for size in found.pixel_sizes if size is not None]
    fields: dict[str, Any] = {
        "pretty_name": name,
        "license": blank,
        "size_categories": [_size_category(found.images)],
        "tags": ["biology", "microscopy", "organoids"],
        "name": name,
        "homepage": blank,
        "date_published": blank,
        "creators": [blank],
        "modality": f"{blank} (brightfield, phase contrast, ...), {' and '.join(found.dtypes)}",
        "subject": f"{blank} (organism, tissue)",
        "annotation": f"COCO masks, {'which overlap' if found.overlapping else 'none overlaps another'}",
        "overlaps": bool(found.overlapping),
        "classes": list(found.by_class),
        "images": sides or {"labelled": found.images},
        "image_sizes": [f"{w}x{h}" for (h, w), _ in _most(found.shapes)],
        "instances": {side.name: side.organoids for side in found.sides}
        or {"labelled": found.organoids},
        "pixel_size_um": sizes[0] if len(sizes) == 1 else blank,
        "split_unit": f"{blank} (well, plate, donor, ...)",
        "redistribution": blank,
        "files": [
            {
                "name": annotations.name,
                "url": _beside(annotations, path),
                "format": "application/json",
                "role": "coco",
                "sha256": file_hash(annotations),
            }
        ],
        "folders": [
            {
                "name": f"images_{suffix.lstrip('.').lower() or 'plain'}",
                "includes": f"{_beside(images, path)}/**/*{suffix}",
                "format": mimetypes.guess_type(f"a{suffix}")[0] or "application/octet-stream",
            }
            for suffix in found.suffixes
        ],
    }
    return CardFacts.model_validate(fields)


def _composition(found: SetStatistics) -> list[str]:
    rows = [
        ("images", _with_zero(found.images, found.empty_images, "without an organoid")),
        ("size of an image, px", _listed({f"{w} x {h}": n for (h, w), n in found.shapes.items()})),
        ("values of a pixel", _listed(found.dtypes)),
        ("pixel size, µm", _listed({_unknown(s): n for s, n in found.pixel_sizes.items()})),
        ("organoids", str(found.organoids)),
        *((f"of class {name}", str(n)) for name, n in found.by_class.items() if len(found.by_class) > 1),
        ("organoids an image", f"{_spread(found.per_image, 0)}; the most {found.most_in_one}"),
        ("diameter, px", _spread(found.diameter_px, 1)),
        ("diameter, µm", _spread(found.diameter_um, 1)),
        ("overlapping (over 10 % of the area)", f"{100 * found.overlapping:.1f} %"),
        ("cut by the border", f"{100 * found.touching_border:.1f} %"),
        ("images that are only partly labelled", str(found.partly_known)),
        ("groups", _groups(found)),
    ]  # fmt: skip
    table = ["| measured | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
    lines = [
        "\n".join(table),
        "Spreads are 5th, 50th and 95th percentile; a diameter is that of a disc of the same area.",
    ]
    if found.sides:
        head = ["| split | images | organoids | groups |", "| --- | --- | --- | --- |"]
        each = [f"| {s.name} | {s.images} | {s.organoids} | {s.groups} |" for s in found.sides]
        lines.append("\n".join([*head, *each]))
    return lines


def _faults(found: SetStatistics) -> list[str]:
    lines = []
    if not found.own_groups:
        lines.append(
            "- No image has a group (well, plate): nobody can tell which images resemble each other, so a split by "
            "image may flatter. `--group-pattern` takes groups from file names."
        )
    elif len(found.groups) == 1 < found.images:
        lines.append(
            "- All images are of one group (often just their folder): nobody can tell which resemble each other, so a "
            "split may flatter. `--group-pattern` takes groups from file names."
        )
    for names in found.duplicates[:LISTED]:
        lines.append(f"- The same pixels several times: {', '.join(names)}.")
    for leak in found.leaks:
        between = " and ".join(leak.sides)
        if leak.groups:
            shown = ", ".join(leak.groups[:LISTED])
            lines.append(
                f"- {between} share {len(leak.groups)} groups, so figures may flatter: {shown}."
            )
        for a, b in leak.pictures[:LISTED]:
            lines.append(f"- {a} and {b}, of {between}, are the same picture.")
    if None in found.pixel_sizes:
        lines.append(f"- {found.pixel_sizes[None]} images do not say how large a pixel is.")
    return ["\n".join(lines)] if lines else ["No fault was found by measuring."]


def _groups(found: SetStatistics) -> str:
    if not found.own_groups:
        return "none given"
    shown = ", ".join(f"{name} ({n})" for name, n in _most(found.groups)[:LISTED])
    more = len(found.groups) - LISTED
    return f"{len(found.groups)}: {shown}" + (f" and {more} more" if more > 0 else "")


def _most(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _listed(counts: Mapping[Any, int]) -> str:
    if len(counts) == 1:
        return str(next(iter(counts)))
    shown = ", ".join(f"{value} ({n} images)" for value, n in _most(counts)[:LISTED])
    return shown + (f" and {len(counts) - LISTED} more" if len(counts) > LISTED else "")


def _with_zero(count: int, empty: int, words: str) -> str:
    return f"{count}, {empty} of them {words}" if empty else str(count)


def _unknown(size: float | None) -> str:
    return "not known" if size is None else f"{size:g}"


def _spread(spread: Spread | None, digits: int) -> str:
    return "not known" if spread is None else " / ".join(f"{v:.{digits}f}" for v in spread)


def _size_category(images: int) -> str:
    """The hub's classes of size."""
    if images < 1000:
        return "n<1K"
    return "1K<n<10K" if images < 10_000 else "10K<n<100K"


def _beside(target: Path, card: Path) -> str:
    """The path of a file from the card, or its absolute one where they share no root."""
    try:
        relative = os.path.relpath(target.resolve(), card.resolve().parent)
    except ValueError:  # another drive
        return target.resolve().as_uri()
    return str(PurePosixPath(*Path(relative).parts))
