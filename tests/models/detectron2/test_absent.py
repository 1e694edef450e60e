"""Without detectron2: one clear error, and everything else works. Runs everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from organoseg.cli.main import main
from organoseg.models.detectron2 import presence
from organoseg.models.detectron2.options import Detectron2Options
from tests.training.tiny import recipe, write_data, write_recipe


@pytest.fixture(autouse=True)
def _absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "is_there", lambda: False)


def said(words: str) -> None:
    assert "the engine detectron2 cannot be used: detectron2 is not there" in words
    assert "git+https://github.com/facebookresearch/detectron2.git" in words
    assert presence.MANUAL in words
    assert words.count("organoseg: error") == 1
    assert "Traceback" not in words


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def test_training_says_how_it_is_installed_and_leaves_no_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = recipe(data, model={"engine": "detectron2", "encoder_weights": None, "options": {}})
    path = write_recipe(tmp_path / "recipe.yaml", tree)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    said(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_predicting_says_the_same_not_that_the_model_is_too_new(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from organoseg.core import file_hash

    model = tmp_path / "model"
    model.mkdir()
    (model / "weights.safetensors").write_bytes(b"anything")
    facts = {
        "engine": "detectron2",
        "weights_sha256": file_hash(model / "weights.safetensors"),
        "created": "2026-11-21T12:00:00+00:00",
        "options": Detectron2Options().model_dump(mode="json"),
    }
    (model / "model.yaml").write_text(yaml.safe_dump(facts))
    command = ["predict", str(data / "images"), "--model", str(model)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    said(capsys.readouterr().err)


def test_importing_a_model_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["model", "import", str(tmp_path / "a.pth"), "--config", str(tmp_path / "a.yaml")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    said(capsys.readouterr().err)


def test_the_doctor_calls_it_absent_and_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    (ours,) = (f for f in findings if f["name"] == "detectron2")
    assert (ours["topic"], ours["state"]) == ("optional parts", "absent")
    assert ours["remedy"] == presence.INSTALL


def test_a_detectron2_that_cannot_be_imported_is_a_problem_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presence, "is_there", lambda: True)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.setitem(sys.modules, "torchvision", sys.modules.get("torchvision", json))
    monkeypatch.setitem(sys.modules, "torchvision.ops", sys.modules.get("torchvision.ops", json))
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    (ours,) = (f for f in findings if f["name"] == "detectron2")
    assert ours["state"] == "problem"
    assert "it fails to import" in ours["value"]


def test_a_wrong_option_is_named_before_anything_is_asked_of_detectron2(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"architecture": "mask_rcnn_R_51_FPN"}
    tree = recipe(data, model={"engine": "detectron2", "options": options})
    path = write_recipe(tmp_path / "recipe.yaml", tree)
    assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 2
    assert "option architecture" in capsys.readouterr().err


def test_nothing_of_it_is_imported_until_a_recipe_names_it() -> None:
    program = (
        "import sys, organoseg.models.registry, organoseg.training.run, organoseg.cli.model\n"
        "import organoseg.models.detectron2.options, organoseg.models.detectron2.presence\n"
        "print('loaded:', *{'detectron2', 'torchvision'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "loaded:"
