"""Every verb's help has an example, and every example is one that the parser takes."""

from __future__ import annotations

import shlex

import pytest

from organoseg.cli import main as cli
from organoseg.cli.examples import EXAMPLES, GROUPS, walk

LEAVES = [name for name, _ in walk(cli.build_parser())]


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_of_every_verb_ends_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*name.split(), "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    _, found, examples = shown.partition("\nexample")
    assert found, f"write one in organoseg/cli/examples.py for {name!r}"
    assert f"\n  organoseg {name}" in examples
    assert "usage: organoseg" in shown


def test_verbs_that_hold_actions_say_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    groups = {name.split()[0] for name in LEAVES if " " in name}
    assert groups == GROUPS.keys()
    for name, begin in GROUPS.items():
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        shown = capsys.readouterr().out
        assert f"\n  organoseg {name} {begin} " in shown
        assert f"`organoseg {name} {begin} --help`" in shown


@pytest.mark.parametrize(
    ("name", "line"), [(n, line) for n in LEAVES for line in EXAMPLES.get(n, "").splitlines()]
)
def test_every_example_is_understood(name: str, line: str) -> None:
    program, *arguments = shlex.split(line.partition(" > ")[0])
    assert program == "organoseg"
    assert arguments[: len(name.split())] == name.split()
    parsed = cli.build_parser(arguments).parse_args(arguments)
    assert callable(parsed.run)


def test_long_descriptions_are_still_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = capsys.readouterr().out.partition("example")[0]
    assert max(map(len, text.splitlines())) <= 120
