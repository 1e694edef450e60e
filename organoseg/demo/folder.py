"""The demo's folder: what lies in it, and when it may be made anew."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from organoseg.core import UsageError, write_json
from organoseg.demo.plan import METHODS, DemoPlan

#: Written first: it tells a folder of the demo from a folder of somebody's own.
PLAN = "plan.json"
SUMMARY = "summary.json"
PARTS = (SUMMARY, "gallery.png", "report.html", *METHODS, "data")


def prepare(out: Path, plan: DemoPlan, force: bool) -> None:
    """Make the folder ready, with the plan in it; `force` clears what an earlier demo left there.

    Raises UsageError when something else lies there, or a demo does and `force` is not given;
    nothing is touched then.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(
            "this is a file, not a folder", where=out, remedy="Give another --out to the demo."
        )
    if out.is_dir() and any(out.iterdir()):
        if not (out / PLAN).is_file():
            raise UsageError(
                "this folder holds something that is no demo",
                where=out,
                remedy="Give a new folder as --out.",
            )
        if not force:
            raise UsageError(
                "this folder holds a demo already",
                where=out,
                remedy="Add --force to make it anew, or give another --out.",
            )
        clear(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN, asdict(plan))


def clear(out: Path) -> None:
    """Remove what the demo makes, and nothing else. The plan stays: a clearing cut short can go on."""
    for part in PARTS:
        path = out / part
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
