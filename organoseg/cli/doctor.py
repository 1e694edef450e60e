"""`organoseg doctor`: what is installed, what works, and how to mend what does not."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from organoseg.cli.checks import Finding, examine
from organoseg.cli.console import print_json
from organoseg.cli.options import verbosity_options

_MARKS = {"ok": " ", "absent": "-", "problem": "!"}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="check the installation and this computer",
        description="Check the installation and this computer. The exit code is 1 when something "
        "is wrong; an optional part that is not there is no fault.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder that results would go to (default: this one)",
    )
    parser.add_argument("--json", action="store_true", help="write the findings as JSON to stdout")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print all findings; 1 when one of them is a problem."""
    findings = list(examine(args.out))
    problems = [finding for finding in findings if finding.state == "problem"]
    if args.json:
        print_json({"healthy": not problems, "findings": [asdict(f) for f in findings]})
    else:
        print(_text(findings))
        print(f"\n{len(problems)} problems" if problems else "\nAll is well.")
    return 1 if problems else 0


def _text(findings: Sequence[Finding]) -> str:
    lines = []
    for topic, group in groupby(findings, key=lambda finding: finding.topic):
        lines.append(f"\n{topic}")
        for finding in group:
            lines.append(f"{_MARKS[finding.state]} {finding.name:<16} {finding.value}")
            if finding.remedy:
                lines.append(f"{'':19}{finding.remedy}")
    return "\n".join(lines).lstrip("\n")
