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
    assert topics == {
        "system",
        "packages",
        "optional parts",
        "torch",
        "models",
        "weights",
        "folders",
    }
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


def test_weights_that_are_here_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path))
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    monkeypatch.setenv("ORGANOSEG_WEIGHTS", str(tmp_path / "nowhere"))
    before = {finding.name: finding for finding in checks.weights()}
    assert before["here"].value == "none yet"
    assert before["downloads"].value.startswith("forbidden")
    assert before["own folder"].state == "problem"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet50-0676ba61.pth").touch()
    monkeypatch.delenv("ORGANOSEG_OFFLINE")
    monkeypatch.setenv("ORGANOSEG_WEIGHTS", str(tmp_path))
    after = {finding.name: finding for finding in checks.weights()}
    assert after["here"].value == "resnet50_imagenet"
    assert (after["downloads"].value, after["own folder"].state) == ("allowed", "ok")


def test_a_gpu_is_named_with_its_memory_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (6 * 10**9, 8 * 10**9))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "Some GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda n, device: zeros(n))
    found = {finding.name: finding for finding in checks.torch_device()}
    assert found["cuda:0"].value == "Some GPU, 6.0 of 8.0 GB free, fp16, no bf16"

    def broken(n: int, device: str) -> None:
        raise RuntimeError("CUDA error: no kernel image\nand so on")

    monkeypatch.setattr(torch, "zeros", broken)
    found = {finding.name: finding for finding in checks.torch_device()}
    assert (found["cuda:0"].state, found["cuda:0"].value) == (
        "problem",
        "CUDA error: no kernel image",
    )


@pytest.mark.parametrize(
    ("there", "said"),
    [({"napari", "PySide6"}, "PySide6"), ({"napari"}, "not there: napari opens no window")],
)
def test_napari_without_a_qt_is_said(
    monkeypatch: pytest.MonkeyPatch, there: set[str], said: str
) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: name in there or None)
    (finding,) = checks.window_toolkit()
    assert finding.value == said
    assert (finding.remedy is None) == ("PySide6" in there)


def test_qt_is_nobodys_business_without_napari(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert list(checks.window_toolkit()) == []


def test_every_part_for_users_says_what_it_is_for() -> None:
    import tomllib

    root = Path(__file__).resolve().parents[2]
    parts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(parts) - set(checks.FOR_DEVELOPERS) <= set(checks.PURPOSES)
