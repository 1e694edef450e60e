"""`organoseg archive create`: bring a lab's unlabelled images into one checked zarr archive."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from organoseg.cli import archive_index
from organoseg.cli.console import counter
from organoseg.cli.options import verbosity_options

SHOWN = 5


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb, its actions and their options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "archive",
        help="make and look after an archive of unlabelled images",
        description="Work with archives of unlabelled images.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="copy images into a new archive",
        description="Copy images, folders of images and zarr stores into a new OME-Zarr archive with "
        "checksums. The sources are only read; doubles are stored once; unreadable files are listed "
        "in the archive's errors.csv. Run it again after a stop, and it goes on where it was.",
        parents=[verbosity_options()],
    )
    create.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="images, folders of images, or zarr stores"
    )
    create.add_argument("--out", type=Path, required=True, metavar="A.zarr", help="a new folder")
    create.add_argument(
        "--grammar",
        default="auto",
        metavar="G",
        help="how file names tell plate, well, site, time, channel and z: auto (default), none, evos, "
        "imagexpress, lung-well, m-orgaquant, orgaquant, or a regular expression with groups such as "
        "(?P<well>...) and (?P<z>...), searched for in the path below SOURCE",
    )
    create.add_argument(
        "--absent",
        choices=("refuse", "fill"),
        default="refuse",
        help="what a chunk means that a zarr source does not have: refuse (default): a loss, and its image is "
        "left out; fill: the fill value, for writers that leave out chunks of one grey",
    )
    create.set_defaults(run_action=run_create)
    archive_index.add_verbs(actions)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return int(args.run_action(args))


def run_create(args: argparse.Namespace) -> int:
    """Create the archive and say what is in it; 1 when a file could not be read."""
    from organoseg.archive import create_archive

    quiet = args.quiet > args.verbose
    progress = None if quiet else counter("files read")
    archive = create_archive(
        args.sources, args.out, progress=progress, grammar=args.grammar, absent=args.absent
    )
    images, groups = len(archive.arrays), len({entry.group for entry in archive.entries})
    print(
        f"{args.out}: {images} images, {len(archive)} planes, {groups} groups, "
        f"{len(archive.duplicates)} doubles left out"
    )
    for file, reason in archive.errors[:SHOWN]:
        print(f"organoseg: not read: {file}: {reason}", file=sys.stderr)
    if archive.errors:
        listed = args.out / "errors.csv"
        print(f"organoseg: {len(archive.errors)} files not read: {listed}", file=sys.stderr)
        return 1
    return 0
