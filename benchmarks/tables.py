"""Markdown tables, and the marked blocks of docs/benchmarks.md that programs rewrite."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, machine_line, shown_command
from organoseg.core import DataError, OrganosegError, write_json, write_text


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def number(value: float | None, digits: int = 3) -> str:
    """A figure as papers write it: `.724`; a dash for none."""
    if value is None or value != value:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def publish(name: str, result: Any, table: str, out: Path, document: Path | None) -> None:
    """Print a benchmark's table; write `name`.json and `name`.md under `out`, and its block of a document.

    The block is called as the files are, with dashes.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", result)
    write_text(out / f"{name}.md", table + "\n")
    print(table)
    if document is not None:
        replace_block(document, name.replace("_", "-"), table)


def run_program(
    name: str,
    arguments: Sequence[str],
    parser: ArgumentParser,
    measure: Callable[[Namespace], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
    kind: str = "",
) -> int:
    """Parse, measure and `publish`: the whole of a benchmark `name`.py. Exit codes: 0, 1 run, 2 use, 3 data.

    The parser gets --out and --table; to what `measure` finds, the command and the machine are added. ``kind`` is
    appended to the names of files and block, where one program makes several tables.
    """
    made = name + kind
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {made}.json and .md")
    block = made.replace("_", "-")
    parser.add_argument(
        "--table", type=Path, metavar="FILE.md", help=f"rewrite the block {block} of this file"
    )
    args = parser.parse_args(arguments)
    facts = {"command": shown_command(f"{name}.py", arguments), "machine": describe_machine()}
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        result = {**measure(args), **facts}
        publish(made, result, table(result), args.out, args.table)
    except OrganosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def origin(result: dict[str, Any]) -> list[str]:
    """The last two lines below a table: machine and commit, and the command."""
    machine = result["machine"]
    return [
        f"- Machine: {machine_line(machine)}. Commit {machine['commit']}.",
        f"- `{result['command']}`",
    ]


def replace_block(path: Path, marker: str, text: str) -> None:
    """Put `text` between `<!-- marker: begin -->` and `<!-- marker: end -->` of a file.

    DataError when the file lacks the markers.
    """
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    try:
        old = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError("no such file for the table", where=path) from error
    start, stop = old.find(begin), old.find(end)
    if start < 0 or stop < start:
        raise DataError(
            f"the file has no block {marker!r}", where=path, remedy=f"Add {begin} and {end}."
        )
    write_text(path, f"{old[: start + len(begin)]}\n{text.strip()}\n{old[stop:]}")
