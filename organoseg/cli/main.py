"""The command `organoseg`: runs a verb, and turns every error into words and an exit code.

Exit codes: 0 done, 1 the run failed, 2 wrong use, 3 bad data, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from organoseg.cli.console import set_up_messages
from organoseg.cli.examples import add_examples
from organoseg.cli.options import verbosity_options

VERBS = (
    "demo", "doctor", "train", "predict", "track", "evaluate", "archive", "review", "data", "model",
    "completion",
)  # fmt: skip

DESCRIPTION = """\
Organoid instance segmentation from a few labelled images and a large unlabelled archive.
"""
EPILOG = """\
`organoseg VERB --help` explains a verb. Start with `organoseg demo`: it needs no data. With what `organoseg completion
bash` prints (also zsh, fish, powershell) the Tab key completes verbs and options; `organoseg completion --help` says
where to put it.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `--help` and wrong options raise SystemExit."""
    # Idle OpenMP threads that spin make torch several times slower beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = build_parser(arguments).parse_args(arguments)
        set_up_messages(args.verbose - args.quiet)
        return int(args.run(args))
    except KeyboardInterrupt:
        print("organoseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has left; Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence: nobody is shown a traceback
        return _report(error)


def build_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser for these arguments. Only the verb they name is imported; without one, all are."""
    from organoseg import __version__

    parser = argparse.ArgumentParser(
        prog="organoseg", description=DESCRIPTION, epilog=EPILOG, parents=[verbosity_options()]
    )
    parser.add_argument("--version", action="version", version=f"organoseg {__version__}")
    parser.set_defaults(verbose=0, quiet=0)
    subparsers = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    named = next((a for a in arguments if not a.startswith("-")), None)
    for verb in [named] if named in VERBS else VERBS:
        module = _module(verb)
        module.add_parser(subparsers).set_defaults(run=module.run)
    add_examples(parser)
    return parser


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"organoseg.cli.{verb}")


def _report(error: Exception) -> int:
    from organoseg.core.errors import OrganosegError

    if not isinstance(error, OrganosegError):
        return _report_unexpected(error)
    print(f"organoseg: error: {error.what}", file=sys.stderr)
    if error.where is not None:
        print(f"  where: {os.fspath(error.where)}", file=sys.stderr)
    if error.remedy is not None:
        print(f"  what to do: {error.remedy}", file=sys.stderr)
    return error.exit_code


def _report_unexpected(error: Exception) -> int:
    """Keep the traceback in a file of its own, so that the one line on the screen can be read."""
    kind = type(error).__name__
    details = "".join(traceback.format_exception(error))
    print(f"organoseg: unexpected error: {kind}: {error}", file=sys.stderr)
    try:
        handle, name = tempfile.mkstemp(prefix="organoseg-error-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            log.write(details)
        print(f"  details (please send them with a report): {Path(name)}", file=sys.stderr)
    except OSError:
        print(details, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
