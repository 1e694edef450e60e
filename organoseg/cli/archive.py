"""`organoseg archive`: bring a lab's unlabelled images into one checked zarr archive."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from organoseg.cli.console import counter
from organoseg.cli.options import verbosity_options

SHOWN = 5


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb, its one action (`create`) and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "archive",
        help="make an archive of unlabelled images",
        description="Work with archives of unlabelled images.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="copy images into a new archive",
        description="Copy images and folders of images into a new zarr archive with checksums. "
        "The sources are only read; doubles are stored once; unreadable files are listed in "
        "the archive's errors.csv.",
        parents=[verbosity_options()],
    )
    create.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE", help="images, or folders of images"
    )
    create.add_argument("--out", type=Path, required=True, metavar="A.zarr", help="a new folder")
    return parser


def run(args: argparse.Namespace) -> int:
    """Create the archive and say what is in it; 3 when a file could not be read."""
    from organoseg.archive import create_archive
    from organoseg.core import DataError

    quiet = args.quiet > args.verbose
    progress = None if quiet else counter("files read")
    archive = create_archive(args.sources, args.out, progress=progress)
    print(f"{args.out}: {len(archive)} images, {len(archive.duplicates)} doubles left out")
    for file, reason in archive.errors[:SHOWN]:
        print(f"organoseg: not read: {file}: {reason}", file=sys.stderr)
    if archive.errors:
        listed = args.out / "errors.csv"
        print(f"organoseg: {len(archive.errors)} files not read: {listed}", file=sys.stderr)
        return DataError.exit_code
    return 0
