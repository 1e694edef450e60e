"""`organoseg train`: train what a recipe says, or go on with a run that was stopped."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from organoseg.cli.options import verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "train",
        help="train a model as a recipe says",
        description="Train a model as a YAML recipe says. The run folder gets the resolved recipe, "
        "metrics, checkpoints and, at the end, the model.",
        parents=[verbosity_options()],
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="YAML file of the recipe")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value of the recipe, e.g. --set training.steps=800 (may be repeated)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in RUN"
    )
    parser.add_argument("--device", help="auto, cpu, cuda, mps (default: the recipe's)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train; every failure is an OrganosegError of the rooms below."""
    overrides = list(args.overrides)
    if args.device is not None:
        overrides.append(f"training.device={args.device}")

    import os
    from time import monotonic

    from organoseg.training.progress import automatic, silent
    from organoseg.training.run import train

    quiet, begun = args.quiet > args.verbose, monotonic()
    reporter = silent if quiet else automatic()
    result = train(
        args.recipe, args.out, overrides=overrides, resume=args.resume, reporter=reporter
    )
    # Of several processes that torchrun started, the first speaks.
    if not quiet and os.environ.get("RANK", "0") == "0":
        print(result.sentence(monotonic() - begun))
    return 0
