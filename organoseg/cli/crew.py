"""`--jobs` and `--dask`: by how many processes a verb works, and where."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from organoseg.cli.options import positive

if TYPE_CHECKING:
    from organoseg.inference.cluster import Crew


def add_crew_options(parser: argparse.ArgumentParser) -> None:
    """Declare the two options."""
    group = parser.add_argument_group("more than one process").add_mutually_exclusive_group()
    group.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="processes on this machine (default: 1, which uses all cores for one picture after the other)",
    )
    group.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="scheduler of a Dask cluster, such as tcp://node7:8786, whose workers see the same folders",
    )


def crew_of(args: argparse.Namespace) -> Crew:
    """What the options say."""
    from organoseg.inference.cluster import Crew

    return Crew(args.jobs, args.dask)
