"""`organoseg archive index`, `check` and `info`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from organoseg.cli.options import verbosity_options

if TYPE_CHECKING:
    from organoseg.archive.catalogue import Catalogue
    from organoseg.archive.damage import Report

SHOWN = 10
_WHERE = "archives or zarr stores, folders of such, or URLs"


def add_verbs(actions: Any) -> None:
    """Declare the actions beside `create`; each sets its own `run_action`."""
    index = actions.add_parser(
        "index",
        help="list every image of archives and look at each once",
        description="Walk zarr stores once and keep every image, its layout and cheap statistics of its parts in a "
        "catalogue. Run it again after images were added: only what is new or changed is read.",
        parents=[verbosity_options()],
    )
    index.add_argument("archives", nargs="+", metavar="A", help=_WHERE)
    index.add_argument(
        "--out", type=Path, metavar="FILE",
        help="the catalogue (default: catalogue.sqlite in A, where A is an archive of organoseg)",
    )  # fmt: skip
    index.set_defaults(run_action=run_index)
    check = actions.add_parser(
        "check",
        help="look for missing and damaged parts",
        description="Read every chunk once: missing, cut and flipped ones, levels that disagree, missing metadata. "
        "Says which damage a store's codec cannot reveal. Exit code 3 when something is wrong.",
        parents=[verbosity_options()],
    )
    check.add_argument("archives", nargs="+", metavar="A", help=_WHERE + ", or a catalogue of them")
    check.add_argument(
        "--quarantine", action="store_true",
        help="write quarantine.csv beside the catalogue: training leaves out what it names",
    )  # fmt: skip
    check.set_defaults(run_action=run_check)
    info = actions.add_parser(
        "info",
        help="show what archives hold, and where their layout is slow",
        description="A table of the groups, a contact sheet (PNG) for each, and advice where sampling is slow.",
        parents=[verbosity_options()],
    )
    info.add_argument(
        "archives", nargs="+", metavar="A", help="archives that are indexed, or catalogues"
    )
    info.add_argument(
        "--sheets", type=Path, metavar="DIR", help="write a contact sheet of each group here"
    )
    info.set_defaults(run_action=run_info)


def run_index(args: argparse.Namespace) -> int:
    """Index, and say what was found; 3 when something could not be read."""
    from organoseg.archive.index import index_stores
    from organoseg.core import DataError

    out = args.out or _own_catalogue(args.archives)
    catalogue = index_stores(args.archives, out, _ticker(args, "planes looked at"))
    planes = len(catalogue.plane_table().id)
    print(
        f"{out}: {len(catalogue.images)} images, {planes} planes in {len(catalogue.stores)} stores"
    )
    for url, path, reason in catalogue.problems[:SHOWN]:
        print(f"organoseg: {url}/{path}: {reason}", file=sys.stderr)
    if catalogue.problems:
        print(f"organoseg: {len(catalogue.problems)} problems in all", file=sys.stderr)
        return DataError.exit_code
    return 0


def _own_catalogue(archives: list[str]) -> Path:
    from organoseg.archive.catalogue import FILE
    from organoseg.archive.listing import is_archive
    from organoseg.core import UsageError

    if len(archives) > 1 or not is_archive(archives[0]):
        raise UsageError(
            "Where shall the catalogue be kept", remedy="Give --out, such as --out lab.sqlite",
            where=archives[0],
        )  # fmt: skip
    return Path(archives[0]) / FILE


def run_check(args: argparse.Namespace) -> int:
    """Check, and tell; 3 when something is certainly wrong."""
    from organoseg.archive.check import check_store
    from organoseg.archive.damage import Report
    from organoseg.archive.quarantine import quarantine_file, write_quarantine
    from organoseg.core import DataError, UsageError

    report = Report()
    for given in args.archives:
        urls, catalogue = _stores(given)
        if args.quarantine and catalogue is None:
            raise UsageError(
                "A quarantine lies beside a catalogue, and there is none", where=given,
                remedy="Index it first (organoseg archive index), then check the catalogue",
            )  # fmt: skip
        part = Report()
        for url in urls:
            check_store(url, catalogue, part, _ticker(args, "planes checked"))
        if args.quarantine and catalogue is not None:
            file = quarantine_file(catalogue.path)
            rows = write_quarantine(file, part.lost(), part.stores)
            print(f"{file}: {rows} entries that training leaves out")
        report.add(part)
    _tell(report)
    return DataError.exit_code if report.damaged else 0


def _tell(report: Report) -> None:
    counts = report.counts()
    words = ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "nothing wrong"
    print(
        f"{report.images} images, {report.planes} planes read, {report.hashed} compared with their pixel hash: {words}"
    )
    for finding in report.findings[:SHOWN]:
        chunk = f", chunk {finding.chunk}" if finding.chunk else ""
        print(f"  {finding.kind}: {finding.url}/{finding.path}{chunk}: {finding.reason}")
    if len(report.findings) > SHOWN:
        print(f"  and {len(report.findings) - SHOWN} more")
    if counts.get("absent"):
        print(
            "absent: not written. The writer may have left out chunks of zeros, or they are lost: the store does not "
            "tell. Training leaves them out."
        )
    for text, number in report.blind.items():
        print(f"not to be seen in {number} images: {text}")


def run_info(args: argparse.Namespace) -> int:
    """Table, contact sheets and advice."""
    from organoseg.archive.advice import advise
    from organoseg.archive.catalogue import Catalogue
    from organoseg.archive.contact_sheet import contact_sheets
    from organoseg.archive.info import summary

    for given in args.archives:
        catalogue = Catalogue.open(given)
        print(summary(catalogue))
        if args.sheets is not None:
            sheets = list(contact_sheets(catalogue, args.sheets))
            print(f"\n{args.sheets}: {len(sheets)} contact sheets")
        advice = advise(catalogue)
        for entry in advice:
            print(f"\nSlow to sample: {entry}")
        if not advice:
            print("\nThe layout is good to sample from.")
    return 0


def _stores(given: str) -> tuple[list[str], Catalogue | None]:
    """The stores to check and the catalogue that knows them."""
    from organoseg.archive.catalogue import FILE, Catalogue
    from organoseg.archive.index import absolute
    from organoseg.archive.listing import is_archive

    if Path(given).is_file():
        catalogue = Catalogue.open(given)
        return [store.url for store in catalogue.stores], catalogue
    own = Path(given) / FILE
    known = Catalogue.open(own) if is_archive(given) and own.exists() else None
    return [absolute(given)], known


def _ticker(args: argparse.Namespace, what: str) -> Callable[[int], None] | None:
    if args.quiet > args.verbose:
        return None
    alive = sys.stderr.isatty()

    def show(done: int) -> None:
        if alive:
            print(f"\r{done} {what}", end="", file=sys.stderr, flush=True)
        elif done % 1000 == 0:
            print(f"{done} {what}", file=sys.stderr, flush=True)

    return show
