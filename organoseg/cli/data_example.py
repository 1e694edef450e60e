"""`organoseg data example`: a small drawn set to try everything on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from organoseg.cli.options import count, positive, verbosity_options


def add_verbs(actions: Any) -> None:
    """Declare the action beside the others of `organoseg data`; it sets its own `run_action`."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "example",
        help="draw a small set of images to try everything on",
        description="Draw a small set of synthetic images: labelled ones with their outlines (labelled/, labels.json), "
        "others to measure on (test/, test.json), and the wells of a plate that nobody labelled (plate/). Needs no "
        "network.",
        parents=[verbosity_options()],
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--labelled", type=positive, default=10, metavar="N", help="default: 10")
    parser.add_argument("--test", type=positive, default=10, metavar="N", help="default: 10")
    parser.add_argument(
        "--wells", type=positive, default=24, metavar="N", help="two images each (default: 24)"
    )
    parser.add_argument("--seed", type=count, default=0, help="other seeds, other images")
    parser.set_defaults(run_action=run_example)


def run_example(args: argparse.Namespace) -> int:
    """Draw, and say what lies where."""
    from organoseg.dataset.example import ExampleSize, write_example

    size = write_example(args.out, ExampleSize(args.labelled, args.test, args.wells), args.seed)
    print(
        f"{args.out}: {size.labelled} labelled images, {size.test} test images, a plate of {size.wells} wells "
        f"({2 * size.wells} images)"
    )
    return 0
