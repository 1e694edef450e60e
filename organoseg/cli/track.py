"""`organoseg track`: follow organoids over the frames of time series."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from organoseg.cli.console import counter
from organoseg.cli.options import count, verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "track",
        help="follow organoids over time in the results of `predict`",
        description="Follow organoids over the frames of series. DIR gets tracks.csv (a row an organoid and frame), "
        "growth.csv (a row a track: origin, fate, growth rate) and tracks.html (growth curves and pictures); "
        "measurements.csv gets the columns series, frame and track, report.html the growth curves.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="what `organoseg predict --out` wrote"
    )
    parser.add_argument(
        "--interval",
        metavar="T",
        help="time from one frame to the next, such as 30min or 2h: growth is then per hour, else per frame",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--grammar",
        metavar="PATTERN",
        help="how the pictures' names tell series and time: a preset, or a regular expression with "
        "(?P<time>...) (default: as `predict` understood them)",
    )
    which.add_argument(
        "--by-folder",
        action="store_true",
        help="each folder of pictures is a series, in the order of the file names",
    )
    parser.add_argument(
        "--reach",
        type=_positive,
        default=1.0,
        metavar="R",
        help="how far an organoid may move between two frames, in diameters of its own (default: 1)",
    )
    parser.add_argument(
        "--swell",
        type=_factor,
        default=2.5,
        metavar="F",
        help="by which factor its area may change between two frames (default: 2.5)",
    )
    parser.add_argument(
        "--gap",
        type=count,
        default=2,
        metavar="N",
        help="frames in a row in which it may be missed (default: 2)",
    )
    parser.add_argument(
        "--no-drift",
        action="store_true",
        help="do not look for movements of the whole field",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Track and say what was found; 1 when a series could not be tracked."""
    from organoseg.report.tracks import TracksPage
    from organoseg.tracking.cost import LinkSettings
    from organoseg.tracking.run import TrackSettings, track_folder
    from organoseg.tracking.series import parse_interval

    settings = TrackSettings(
        LinkSettings(args.reach, args.swell, args.gap, not args.no_drift),
        args.grammar,
        args.by_folder,
        None if args.interval is None else parse_interval(args.interval),
    )
    page = TracksPage(args.folder)
    progress = None if args.quiet else counter("series tracked")
    outcome = track_folder(args.folder, settings, page.add, progress)
    path = page.write()
    report = args.folder / "report.html"
    if report.exists():
        page.add_to_report(report)
    print(page.summary())
    print(f"Look at {path}")
    for name, reason in outcome.failures:
        print(f"organoseg: series {name} could not be tracked: {reason}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _factor(text: str) -> float:
    value = float(text)
    if not 1 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 1")
    return value
