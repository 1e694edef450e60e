"""`organoseg data`: public sets, and labelled images of other programs, brought into one form."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from organoseg.cli import data_card, data_example
from organoseg.cli.console import counter, print_json
from organoseg.cli.options import verbosity_options

# As in organoseg.dataset.sources.importers, which would be slow to import for --help.
FORMATS = ("auto", "coco", "labelme", "cvat", "qupath", "imagej", "cellpose", "boxes", "label-images")  # fmt: skip


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb, its actions and their options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "data",
        help="public sets, and labels made with other programs",
        description="Public sets of labelled organoids, and labels made with other programs.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_list(actions)
    _add_fetch(actions)
    _add_import(actions)
    data_card.add_verbs(actions)
    data_example.add_verbs(actions)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return int(args.run_action(args))


def _add_list(actions: Any) -> None:
    listed = actions.add_parser(
        "list",
        help="public sets that are known, and which are here",
        description="Public sets that are known: what they hold, where, on what terms, and which are here.",
        parents=[verbosity_options()],
    )
    listed.add_argument("--json", action="store_true", help="for other programs")
    listed.set_defaults(run_action=run_list)


def _add_fetch(actions: Any) -> None:
    fetched = actions.add_parser(
        "fetch",
        help="download a public set",
        description="Download a public set into the cache (ORGANOSEG_CACHE), once. A download that stops goes on where "
        "it was; what came is held against the checksum.",
        parents=[verbosity_options()],
    )
    fetched.add_argument("name", metavar="NAME", help="as `organoseg data list` calls it")
    fetched.add_argument("--folder", type=Path, metavar="DIR", help="another place than the cache")
    fetched.set_defaults(run_action=run_fetch)


def _add_import(actions: Any) -> None:
    made: argparse.ArgumentParser = actions.add_parser(
        "import",
        help="labelled images of other programs into a data set for training",
        description="Bring labelled images into a new folder that `organoseg train` takes: labels.json, images, "
        "sides, and where everything came from. SOURCE is only read. Whole or not at all: every "
        "fault is named, and then there is no folder.",
        parents=[verbosity_options()],
    )
    made.add_argument(
        "source", metavar="SOURCE", help="a folder, a zip, a file of labels, or a public set's name"
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    made.add_argument(
        "--format", choices=FORMATS, metavar="F", help=f"{', '.join(FORMATS)} (default: auto)"
    )
    made.add_argument("--set", metavar="NAME", help="SOURCE is this public set: import it as such")
    made.add_argument("--json", action="store_true", help="what was taken, for other programs")
    _add_rules(made)
    _add_sides(made)
    made.set_defaults(run_action=run_import)


def _add_rules(made: argparse.ArgumentParser) -> None:
    rules = made.add_argument_group("what to take for what", argument_default=argparse.SUPPRESS)
    rules.add_argument(
        "--images", type=Path, metavar="DIR", help="where the images lie, when not with the labels"
    )
    rules.add_argument(
        "--image-pattern",
        metavar="P",
        help="names of images, such as '*_img.jpg'; * is what is shared",
    )
    rules.add_argument(
        "--label-pattern", metavar="P", help="names of label images, such as '*_masks.png'"
    )
    rules.add_argument(
        "--pieces",
        action="store_true",
        help="label images are foreground: each piece is an organoid",
    )
    rules.add_argument(
        "--boxes", choices=("refuse", "ellipse", "leave-out"),
        help="a box is no mask: refuse (default), take the ellipse in it (marked), leave out",
    )  # fmt: skip
    rules.add_argument(
        "--without-labels", dest="unlabelled", choices=("refuse", "leave-out", "empty"),
        help="images without labels: refuse (default), leave out, or nothing is on them (empty)",
    )  # fmt: skip
    rules.add_argument(
        "--repair", action="store_true",
        help="cut outlines at the image's edge, leave out those of no pixel; each is counted",
    )  # fmt: skip
    rules.add_argument(
        "--classes",
        type=_names,
        metavar="A,B",
        help="names of the classes, in the order of their ids",
    )
    rules.add_argument(
        "--skip-classes", type=_names, metavar="C,D", help="what is called so is no organoid"
    )
    rules.add_argument(
        "--one-class", action="store_true", help="all are organoids, whatever they are called"
    )


def _add_sides(made: argparse.ArgumentParser) -> None:
    sides = made.add_argument_group("train, validation, test", argument_default=argparse.SUPPRESS)
    sides.add_argument(
        "--sides", choices=("auto", "folders", "groups", "train"),
        help="the source's own folders, whole groups dealt out, or all train (default: folders, else groups)",
    )  # fmt: skip
    sides.add_argument(
        "--group-pattern", metavar="RE", help=r"the group in a file name, such as '(plate\d+)_'"
    )
    sides.add_argument(
        "--validation",
        type=float,
        metavar="S",
        help="share of validation, where dealt (0.2)",
    )
    sides.add_argument("--test", type=float, metavar="S", help="share of test, where dealt (0)")
    sides.add_argument("--seed", type=int, metavar="N", help="of the dealing (0)")


_RULES = (
    "images", "image_pattern", "label_pattern", "pieces", "boxes", "unlabelled", "repair", "classes",
    "skip_classes", "one_class", "sides", "group_pattern", "validation", "test", "seed",
)  # fmt: skip


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def run_list(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    from organoseg.dataset.sources.catalogue import CATALOGUE
    from organoseg.dataset.sources.fetch import place_of

    rows = []
    for public in CATALOGUE.values():
        here = place_of(public)
        rows.append(
            {
                "name": public.name,
                "title": public.title,
                "holds": public.holds,
                "licence": public.licence,
                "page": public.page,
                "download": public.url,
                "sha256": (public.checksum or "").removeprefix("sha256:") or None,
                "here": str(here) if here.exists() else None,
                "import_tried_on_real_files": public.tried,
                "remarks": public.remarks,
            }
        )
    if args.json:
        print_json({"sets": rows})
        return 0
    for row in rows:
        fetched = "here" if row["here"] else ("to fetch" if row["download"] else "by hand")
        print(f"{row['name']:<13}{fetched:<10}{row['title']}: {row['holds']}")
        print(f"{'':<23}licence: {row['licence'] or 'not known here, see the page'}; {row['page']}")
        if row["remarks"]:
            print(f"{'':<23}{row['remarks']}")
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    """Say on what terms, download, check, and say how it is imported."""
    from organoseg.dataset.sources.catalogue import public_set
    from organoseg.dataset.sources.fetch import fetch_set

    public = public_set(args.name)
    _say_terms(public)
    path, word = fetch_set(public, args.folder)
    print(f"{path}: {word}")
    source = public.name if args.folder is None else f"{path} --set {public.name}"
    print(f"Use: organoseg data import {source} --out DIR")
    return 0


def _say_terms(public: Any) -> None:
    terms = public.licence or "not known to organoseg: read the page before you use or pass it on"
    print(f"{public.title}: {public.holds}\nlicence: {terms}\npage: {public.page}", file=sys.stderr)


def run_import(args: argparse.Namespace) -> int:
    """Import, and say what was taken and what was left out."""
    from organoseg.dataset.sources import Rules, import_source
    from organoseg.dataset.sources.catalogue import CATALOGUE, public_set
    from organoseg.dataset.sources.fetch import fetch_set

    source = Path(args.source)
    name = args.set
    if name is None and not source.exists() and args.source.casefold() in CATALOGUE:
        name = args.source
        _say_terms(public_set(name))
        source, _ = fetch_set(public_set(name))
    public = public_set(name) if name is not None else None
    given = {rule: getattr(args, rule) for rule in _RULES if hasattr(args, rule)}
    rules = replace(public.rules if public else Rules(), **given)
    form = args.format or (public.form if public else "auto")
    progress = None if args.quiet > args.verbose or args.json else counter("images read")
    report = import_source(source, args.out, rules, form, progress, public.below if public else "")
    if args.json:
        print_json(
            {
                "out": str(report.out),
                "importer": report.importer,
                "images": len(report.images),
                "sides": dict(report.sides),
                "organoids": dict(report.organoids),
                "classes": {str(number): called for number, called in report.classes.items()},
                "left_out": report.left_out,
                "repaired": report.repaired,
                "notes": report.notes,
            }
        )
        return 0
    for line in report.lines():
        print(line)
    _say_use(args.out, next(iter(report.sides)))
    return 0


def _say_use(out: Path, side: str) -> None:
    print(
        "Use in a recipe:\n"
        "  data:\n"
        "    labelled:\n"
        f"      annotations: {out / 'labels.json'}\n"
        f"      images: {out / 'images'}\n"
        f"      split: {out / 'subsets.json'}#{side}"
    )
