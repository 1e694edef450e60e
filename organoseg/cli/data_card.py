"""`organoseg data card`: the data card of a lab's own set, and Croissant from a finished one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from organoseg.cli.options import verbosity_options


def add_verbs(actions: Any) -> None:
    """Declare the action beside the others of `organoseg data`; it sets its own `run_action`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "card",
        help="write the data card of a labelled set",
        description="Measure a labelled set and write its data card: instances, sizes, overlaps, pixel size, groups, "
        "splits, doubles. What only people know is left blank, and counted. Given a finished card (.md) instead, "
        "check it and write it as Croissant 1.1, which catalogues of data sets read.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "annotations",
        type=Path,
        metavar="ANNOTATIONS",
        help="COCO instances file of the set, or a finished CARD.md",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="the folder of its images")
    parser.add_argument("--out", type=Path, metavar="CARD.md", help="the card to write")
    parser.add_argument("--name", help="name of the set (default: that of the annotations' folder)")
    parser.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help=r"takes the group (well, plate) from file names: (Subset_\d+)_",
    )
    parser.add_argument(
        "--split", type=Path, metavar="FILE.json", help="its split, or named subsets of it"
    )
    parser.add_argument(
        "--croissant", type=Path, metavar="FILE.json", help="where Croissant goes, given a CARD.md"
    )
    parser.add_argument("--force", action="store_true", help="replace a card that is there")
    parser.set_defaults(run_action=run_card)


def run_card(args: argparse.Namespace) -> int:
    """Write a card, or Croissant of one."""
    if args.annotations.suffix.lower() == ".md":
        return _finish(args)
    from organoseg.core import UsageError
    from organoseg.dataset import load_coco
    from organoseg.dataset.card import read_card, statistics_of, write_lab_card
    from organoseg.dataset.card.statistics import read_subsets
    from organoseg.dataset.groups import by_pattern

    if args.images is None or args.out is None:
        raise UsageError(
            "A card is measured on images and written to a file", remedy="Give --images and --out."
        )
    if args.croissant is not None:
        raise UsageError(
            "Croissant is made from a finished card",
            remedy="Write the card, fill in its blanks, then: organoseg data card CARD.md --croissant FILE.json",
        )
    if args.out.exists() and not args.force:
        raise UsageError(
            "There is a card already, and people may have written in it",
            where=args.out,
            remedy="Give another --out, or --force to replace it.",
        )
    group = by_pattern(args.group_pattern) if args.group_pattern else None
    dataset = load_coco(args.annotations, args.images, group=group)
    subsets = read_subsets(args.split) if args.split else None
    name = args.name or args.annotations.resolve().parent.name
    found = statistics_of(dataset, subsets)
    write_lab_card(args.out, name, found, args.annotations, args.images)
    blanks = read_card(args.out).blanks()
    print(
        f"{args.out}: {found.images} images, {found.organoids} organoids, "
        f"{100 * found.overlapping:.0f} % overlapping; groups: {len(found.groups)}"
    )
    print(f"{len(blanks)} places are left to you; search for FILL IN.")
    return 0


def _finish(args: argparse.Namespace) -> int:
    """Say what a card still lacks; with --croissant, write it for programs."""
    from organoseg.core import DataError
    from organoseg.dataset.card import read_card, write_croissant

    card = read_card(args.annotations)
    if args.croissant is not None:
        write_croissant(card, args.croissant)
        print(f"{args.croissant}: Croissant 1.1 of {card.facts.name}")
    blanks = card.blanks()
    if blanks:
        print(f"organoseg: still blank: {', '.join(blanks)}", file=sys.stderr)
        return DataError.exit_code
    print(f"{args.annotations}: no blanks")
    return 0
