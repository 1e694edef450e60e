"""`organoseg review`: projects in which people correct what a model found, and the way back into training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from organoseg.cli.console import counter
from organoseg.cli.options import score, verbosity_options

if TYPE_CHECKING:
    from organoseg.review import ReviewSession

SHOWN = 10


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb, its actions and their options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "review",
        help="make, hand over and export reviews of predictions",
        description="Work with review projects. The correcting itself is done in napari (Layers > Annotate).",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_open(actions)
    status = _action(actions, "status", "say how far a review is", run_status)
    status.add_argument("project", type=Path, metavar="PROJECT")
    _add_export(actions)
    pack = _action(actions, "pack", "put a review with its images into one file", run_pack)
    pack.add_argument("project", type=Path, metavar="PROJECT")
    pack.add_argument("--out", type=Path, required=True, metavar="B.zip")
    merge = _action(actions, "merge", "take in what somebody did elsewhere", run_merge)
    merge.add_argument("project", type=Path, metavar="PROJECT")
    merge.add_argument(
        "other", type=Path, metavar="OTHER", help="a bundle, or a folder of the same project"
    )
    find = _action(actions, "find", "tell where images are that were moved", run_find)
    find.add_argument("project", type=Path, metavar="PROJECT")
    find.add_argument("folder", type=Path, metavar="FOLDER")
    return parser


def _action(actions: Any, name: str, help_: str, run_action: Any) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = actions.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        parents=[verbosity_options()],
    )
    made.set_defaults(run_action=run_action)
    return made


def _add_open(actions: Any) -> None:
    parser = _action(actions, "open", "begin a review, or look into one", run_open)
    parser.add_argument(
        "project", type=Path, metavar="PROJECT", help="the review's folder, made when new"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", metavar="PATH", help="images or folders of them"
    )
    parser.add_argument(
        "--archive", type=Path, metavar="A.zarr", help="an archive, instead of --images"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="B.zip", help="what `review pack` wrote, instead of --images"
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="RUN",
        help="folder of `organoseg predict`, or an instances.json",
    )
    parser.add_argument(
        "--second",
        type=Path,
        metavar="RUN",
        help="predictions of another model (the teacher): where the two differ counts more",
    )
    parser.add_argument(
        "--order",
        choices=("ranked", "doubtful", "random"),
        default="ranked",
        help="ranked: those that stand for most come first (default); doubtful: those with most faults; random",
    )
    parser.add_argument(
        "--random-share",
        type=score,
        default=0.2,
        metavar="S",
        help="share of images drawn at random, which tells how good the model is (default 0.2)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--group-pattern",
        metavar="REGEX",
        help=r"takes the group (well, plate) from file names: (Subset_\d+)_",
    )


def _add_export(actions: Any) -> None:
    parser = _action(actions, "export", "add what was reviewed to a data set", run_export)
    parser.add_argument("project", type=Path, metavar="PROJECT")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DATASET", help="folder, made when new"
    )
    parser.add_argument(
        "--validation",
        type=score,
        default=0.2,
        metavar="S",
        help="share of new groups kept for validation",
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        nargs=2,
        metavar=("LABELS.json", "IMAGES"),
        help="a test set that is kept out",
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return int(args.run_action(args))


def run_open(args: argparse.Namespace) -> int:
    """Make a project, or say what is in one."""
    from organoseg.core import UsageError
    from organoseg.dataset.groups import by_pattern
    from organoseg.review import create_project
    from organoseg.review.bundle import unpack

    sources = [s for s in (args.images, args.archive, args.bundle) if s]
    if len(sources) > 1:
        raise UsageError("Give only one of --images, --archive and --bundle")
    if args.bundle:
        unpack(args.bundle, args.project)
    elif sources:
        left_out: list[tuple[str, str]] = []
        create_project(
            args.project,
            args.images or (),
            archive=args.archive,
            predictions=args.predictions,
            second=args.second,
            order=args.order,
            random_share=args.random_share,
            seed=args.seed,
            group=by_pattern(args.group_pattern) if args.group_pattern else None,
            progress=None if args.quiet > args.verbose else counter("files read"),
            notes=left_out,
        )
        _list("left out", left_out)
    return run_status(args)


def run_status(args: argparse.Namespace) -> int:
    """Progress, time and what the random share says of the model."""
    from organoseg.review import ReviewSession, estimate_accuracy

    with ReviewSession.open(args.project, read_only=True) as session:
        done = session.progress()
        print(f"{args.project}: {done.images_complete} of {done.images} images complete")
        print(
            f"{done.decided} of {done.organoids} organoids decided on, {_time(done.seconds, done.seconds_each)}"
        )
        print(estimate_accuracy(session).words)
        _print_missing(session)
    return 0


def _print_missing(session: ReviewSession) -> None:
    missing = [p.name for p in session.project.pictures if not p.path.exists()]
    if missing:
        print(
            f"organoseg: {len(missing)} images are no longer where they were ({', '.join(missing[:3])}): "
            f"organoseg review find {session.project.folder} FOLDER",
            file=sys.stderr,
        )


def _time(seconds: float, each: float | None) -> str:
    return f"{seconds / 60:.0f} min" + ("" if each is None else f", {each:.1f} s each")


def run_export(args: argparse.Namespace) -> int:
    """Export, and say what became of every image; 1 when one was refused."""
    from organoseg.review import export_project

    held_out = (args.held_out[0], args.held_out[1]) if args.held_out else None
    report = export_project(args.project, args.to, validation=args.validation, held_out=held_out)
    print(
        f"{args.to}: {len(report.added)} images added, {len(report.updated)} updated, {len(report.removed)} removed, "
        f"{len(report.unchanged)} as before, {len(report.refused)} refused"
    )
    for note in report.notes:
        print(note)
    _list("refused", report.refused)
    return 1 if report.refused else 0


def run_pack(args: argparse.Namespace) -> int:
    """Pack."""
    from organoseg.review.bundle import pack

    path = pack(args.project, args.out)
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB. There: organoseg review open FOLDER --bundle {path.name}"
    )
    return 0


def run_merge(args: argparse.Namespace) -> int:
    """Merge; 1 when an image was refused."""
    from organoseg.review.bundle import merge

    report = merge(args.project, args.other)
    print(
        f"{args.project}: {len(report.taken)} images taken over ({report.lines} actions), "
        f"{len(report.same)} had nothing new, {len(report.refused)} refused"
    )
    _list("refused", report.refused)
    return 1 if report.refused else 0


def run_find(args: argparse.Namespace) -> int:
    """Find images that were moved; 1 when some are still missing."""
    from organoseg.review import Project

    missing = Project.open(args.project).find_images(args.folder)
    print(
        f"{args.project}: {'every image is found' if not missing else f'{len(missing)} images are missing'}"
    )
    _list("missing", [(p.name, str(p.path)) for p in missing])
    return 1 if missing else 0


def _list(what: str, rows: list[tuple[str, str]]) -> None:
    for name, reason in rows[:SHOWN]:
        print(f"organoseg: {what}: {name}: {reason}", file=sys.stderr)
    if len(rows) > SHOWN:
        print(f"organoseg: {what}: and {len(rows) - SHOWN} more", file=sys.stderr)
