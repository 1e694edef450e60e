"""What a figure was measured on and by which command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, versions and commit, as plain values."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "gpu": _gpu(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "organoseg": _version("organoseg"),
        "commit": _commit(),
    }


def machine_line(machine: dict[str, Any]) -> str:
    """The machine in one line for a table's foot."""
    gpu = f"{machine['gpu']}, " if machine.get("gpu") else ""
    return (
        f"{gpu}{machine['processor']}, {machine['cores']} cores, Python {machine['python']}, "
        f"torch {machine['torch']}"
    )


def shown_command(program: str, arguments: Sequence[str]) -> str:
    """The command as somebody else could give it: paths seen from the repository, no machine's own."""
    return " ".join(["python", f"benchmarks/{program}", *(_shown(a) for a in arguments)])


def _shown(argument: str) -> str:
    head, equals, tail = argument.rpartition("=")
    path = Path(tail)
    if not path.is_absolute():
        return argument
    relative = Path(os.path.relpath(path, ROOT))
    # Further away than beside the repository, a path says nothing to anybody else.
    far = relative.parts[:2] == ("..", "..")
    return f"{head}{equals}{path.name if far else relative.as_posix()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpu() -> str | None:
    """The GPU that torch would use; asked only of a process that has torch anyway."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """Short name of the commit, with a plus when files differ from it; "unknown" outside git."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "organoseg", "benchmarks"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name}+" if changed else name
