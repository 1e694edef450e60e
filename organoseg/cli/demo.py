"""`organoseg demo`: the whole road on synthetic organoids, without data or download."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from organoseg.cli.options import count, verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="train and compare on synthetic organoids; needs no data",
        description="Draw synthetic organoids, train from 8 labelled images with and without 200 "
        "unlabelled ones, and compare on 30 others. DIR gets report.html, gallery.png, "
        "summary.json, both models and the images. Takes minutes on a processor.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="a folder (default: demo)"
    )
    parser.add_argument("--force", action="store_true", help="make the demo in DIR anew")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="seconds instead of minutes: shows that everything works, the figures mean nothing",
    )
    parser.add_argument("--seed", type=count, default=0, help="of images and training (default: 0)")
    parser.add_argument("--threads", type=_threads, help="processor threads (default: all)")
    parser.add_argument(
        "--encoder-weights",
        metavar="W",
        help="a file or a published name (default: none, the encoder starts from random numbers)",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the demo and print its verdict."""
    from organoseg.demo.plan import DemoPlan, quick_plan
    from organoseg.demo.run import run_demo
    from organoseg.training.progress import automatic, silent

    quiet = args.quiet > args.verbose
    plan = quick_plan() if args.quick else DemoPlan()
    weights = args.encoder_weights
    if weights is not None and Path(weights).is_file():
        weights = str(Path(weights).resolve())
    plan = replace(plan, seed=args.seed, threads=args.threads, encoder_weights=weights)
    summary = run_demo(
        plan,
        args.out,
        force=args.force,
        say=(lambda text: None) if quiet else _say,
        new_reporter=(lambda: silent) if quiet else automatic,
    )
    print(summary["verdict"])
    print(f"Look at {args.out / 'report.html'}; the figures are in {args.out / 'summary.json'}.")
    return 0


def _say(text: str) -> None:
    print(f"organoseg: {text}", file=sys.stderr, flush=True)


def _threads(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value
