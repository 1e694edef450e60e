"""`organoseg evaluate`: how good predictions are against ground truth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from organoseg.cli.console import print_json
from organoseg.cli.options import count, score, verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="compare predictions with ground truth",
        description="Compare predictions with ground truth, image by image (matched by file name): "
        "AP, AP50, AP75, F1, count error, recall on isolated and on overlapping organoids.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        required=True,
        metavar="P.json",
        help="instances.json, or a bare COCO results list",
    )
    parser.add_argument(
        "--ground-truth", type=Path, required=True, metavar="G.json", help="COCO instances file"
    )
    parser.add_argument("--json", action="store_true", help="write the figures as JSON to stdout")
    parser.add_argument(
        "--bootstrap",
        type=count,
        default=1000,
        metavar="N",
        help="resamplings of the images for the intervals; 0 leaves them out (default: 1000)",
    )
    parser.add_argument(
        "--score-threshold",
        type=score,
        metavar="S",
        help="also count and match at this score, 0 to 1",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table, or JSON."""
    from organoseg.evaluation import evaluate
    from organoseg.io.coco_json import parse_coco_instances, parse_predictions

    _must_be_files({"--predictions": args.predictions, "--ground-truth": args.ground_truth})
    truth = parse_coco_instances(args.ground_truth)
    result = evaluate(
        parse_predictions(args.predictions, args.ground_truth),
        truth.instances,
        bootstrap=args.bootstrap,
        seed=args.seed,
        score_threshold=args.score_threshold,
        first_id=truth.first_id,
    )
    if args.json:
        print_json(result.to_dict())
    else:
        print(result.table())
    return 0


def _must_be_files(given: Mapping[str, Path]) -> None:
    """Name the option whose file is not there: the two are easily mistaken for each other.

    Raises DataError.
    """
    from organoseg.core import DataError

    for option, path in given.items():
        if path.is_dir():
            inner = path / "instances.json"  # of a folder of results
            there = f"Perhaps {inner}" if inner.is_file() else "Give the COCO file in it"
            raise DataError(
                f"{option} takes a file, and this is a folder", where=path, remedy=f"{there}."
            )
        if not path.exists():
            raise DataError(
                "There is no such file", where=path, remedy=f"Check the path that {option} gives."
            )
