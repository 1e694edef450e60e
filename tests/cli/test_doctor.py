"""The doctor finds what is wrong and says how to mend it."""

import json
from importlib import metadata
from pathlib import Path

import pytest

from organoseg.cli import checks
from organoseg.cli.main import main


def test_json_has_findings_of_every_topic(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main(["doctor", "--json", "--out", str(tmp_path)])
    report = json.loads(capsys.readouterr().out)
    topics = {finding["topic"] for finding in report["findings"]}
    assert topics == {"system", "packages", "optional parts", "torch", "folders"}
    assert report["healthy"] == all(f["state"] != "problem" for f in report["findings"])


def stand_in(monkeypatch: pytest.MonkeyPatch, requirement: str, version: str | None) -> None:
    def find(name: str) -> str:
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "requires", lambda name: [requirement])
    monkeypatch.setattr(metadata, "version", find)


@pytest.mark.parametrize(
    ("requirement", "version", "state"),
    [
        ("zarr>=3.1", "3.1.6", "ok"),
        ("zarr>=3.1", "3.0.2", "problem"),
        ("zarr>=3.1", None, "problem"),
        ('napari>=0.5; extra == "napari"', None, "absent"),
        ('napari>=0.5; extra == "napari"', "0.4.19", "problem"),
    ],
)
def test_packages_are_held_against_their_floors(
    monkeypatch: pytest.MonkeyPatch, requirement: str, version: str | None, state: str
) -> None:
    stand_in(monkeypatch, requirement, version)
    (finding,) = checks.packages()
    assert finding.state == state
    wanted = requirement.partition(";")[0]
    assert finding.remedy == (None if state == "ok" else f'pip install "{wanted}"')


def test_a_problem_shows_in_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "zarr>=3.1", None)
    assert main(["doctor"]) == 1
    assert "! zarr" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "a_file"
    file.touch()
    states = {finding.name: finding.state for finding in checks.folders(file)}
    assert states["results"] == "problem"
    states = {finding.name: finding.state for finding in checks.folders(tmp_path / "new")}
    assert states["results"] == "ok"
