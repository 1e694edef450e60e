"""`organoseg completion`: the script that lets a shell complete verbs, options and files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from organoseg.cli.options import verbosity_options

SHELLS = ("bash", "zsh", "fish", "powershell")
#: What the metavar of a path says it is, where only a folder will do.
_FOLDERS = ("DIR", "FOLDER", "RUN", "PROJECT", "DATASET", "A.zarr")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "completion",
        help="print the script that completes words in a shell",
        description="Print the script that lets a shell complete verbs, options and file names with the Tab key. "
        "Put it where the shell looks for such scripts (see the examples; for zsh, ~/.zfunc must be in $fpath), and "
        "open a new shell. A folder that is not there has to be made first, such as with "
        "mkdir -p ~/.local/share/bash-completion/completions. Make it again when organoseg is renewed.",
        parents=[verbosity_options()],
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(script(args.shell))
    return 0


def script(shell: str) -> str:
    """The completion script of a shell.

    Raises
    ------
    MissingPartError
        The package that writes such scripts is not installed.
    """
    from organoseg.cli.main import build_parser

    try:
        import shtab
    except ImportError as error:
        from organoseg.core import MissingPartError

        raise MissingPartError(
            "Completion is written by the package shtab, which is not installed",
            remedy="pip install shtab",
        ) from error
    parser = build_parser()
    _mark_paths(parser, shtab.FILE, shtab.DIRECTORY)
    return str(shtab.complete(parser, shell=shell))


def _mark_paths(parser: argparse.ArgumentParser, file: Any, folder: Any) -> None:
    """Tell which arguments are files and folders; argparse knows only that they are paths."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _mark_paths(below, file, folder)
        elif action.type is Path or action.dest in ("paths", "sources", "archives"):
            only_folder = action.metavar in _FOLDERS
            action.complete = folder if only_folder else file  # type: ignore[attr-defined]
