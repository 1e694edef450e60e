"""What a user sees of errors, and that the command line is light."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from organoseg.cli import main as cli
from organoseg.core.errors import DataError, OrganosegError, RunError, UsageError

Verb = Callable[[argparse.Namespace], int]


@pytest.fixture
def run_verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Verb], int]:
    """Run a stand-in for a verb through the real main."""

    def run(verb: Verb) -> int:
        module = SimpleNamespace(add_parser=lambda verbs: verbs.add_parser("demo"), run=verb)
        monkeypatch.setattr(cli, "_module", lambda name: module)
        return cli.main(["demo"])

    return run


def raising(error: BaseException) -> Verb:
    def verb(args: argparse.Namespace) -> int:
        raise error

    return verb


@pytest.mark.parametrize(
    ("kind", "code"), [(OrganosegError, 1), (RunError, 1), (UsageError, 2), (DataError, 3)]
)
def test_an_error_says_what_where_and_what_to_do(
    run_verb: Callable[[Verb], int],
    capsys: pytest.CaptureFixture[str],
    kind: type[OrganosegError],
    code: int,
) -> None:
    error = kind("the mask is empty", where=Path("labels.json"), remedy="Outline the organoid.")
    assert run_verb(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "organoseg: error: the mask is empty",
        "  where: labels.json",
        "  what to do: Outline the organoid.",
    ]


def test_an_unexpected_error_is_one_line_and_its_traceback_a_file(
    run_verb: Callable[[Verb], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_verb(raising(ZeroDivisionError("a fault of ours"))) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: a fault of ours" in err
    assert "Traceback" not in err
    (log,) = tmp_path.glob("organoseg-error-*.log")
    assert str(log) in err
    assert "Traceback" in log.read_text()


def test_an_unexpected_error_shows_its_traceback_where_no_file_can_be_written(
    run_verb: Callable[[Verb], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    assert run_verb(raising(ZeroDivisionError())) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_has_its_own_code(run_verb: Callable[[Verb], int]) -> None:
    assert run_verb(raising(KeyboardInterrupt())) == 130


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment"],
        ["train"],
        ["predict", "a.tif"],
        ["predict", "a.tif", "--model", "m", "--out", "o", "--score-threshold", "1.5"],
        ["evaluate", "--predictions", "p", "--ground-truth", "g", "--bootstrap", "-1"],
        ["archive"],
    ],
)
def test_wrong_use_leaves_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: organoseg" in capsys.readouterr().err


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert set(cli.VERBS) == {
        "demo", "doctor", "train", "predict", "track", "evaluate", "archive", "review", "data",
        "model", "completion",
    }  # fmt: skip
    assert set(cli.VERBS) <= set(listed)


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in cli.VERBS)])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from organoseg.cli.main import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'qtpy', 'napari', 'scipy', 'skimage', 'zarr', 'pydantic'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_verbosity_stands_before_or_after_the_verb() -> None:
    arguments = ["archive", "create", "a", "--out", "b"]
    parser = cli.build_parser(arguments)
    assert parser.parse_args(arguments).verbose == 0
    assert parser.parse_args([*arguments, "-vv"]).verbose == 2
    assert parser.parse_args(["-q", *arguments]).quiet == 1
