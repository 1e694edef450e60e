"""`organoseg model export`, from a model folder to a file that `organoseg predict` takes."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

pytest.importorskip("onnx", reason="onnx is not installed (pip install organoseg[onnx])")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (organoseg[onnx])")

import torch

from organoseg.cli.main import main
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.folder import read_description, save_model

OPTIONS = {"width": 16, "frozen_blocks": 0, "padding": "symmetric", "max_instances": 20, "nms": 0.6}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, and beside it a folder of two images."""
    torch.manual_seed(0)
    engine = CompactSegmenter((1,), 16, "symmetric", 0, 20)
    with torch.no_grad():
        engine.network.score.bias.fill_(0.0)
        engine.network.controller.weight.mul_(8)
    folder = tmp_path_factory.mktemp("export")
    save_model(folder / "model", engine, "compact", OPTIONS, {1: "organoid"}, 0.3, {})
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(2):
        pixels = rng.integers(0, 255, (40, 60), np.uint8)
        Pillow.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder / "model"


def test_from_a_folder_to_results(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.onnx"
    assert main(["model", "export", str(model), "--onnx", str(out)]) == 0
    assert f"--model {out}" in capsys.readouterr().out
    arguments = ["--model", str(out), "--out", str(tmp_path / "results"), "--write", "json"]
    assert main(["-q", "predict", str(model.parent / "images"), *arguments]) == 0
    facts = (tmp_path / "results" / "run.json").read_text()
    assert "compact-onnx-" in facts


def test_what_an_exported_model_is(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "small.onnx"
    assert main(["model", "export", str(model), "--onnx", str(out)]) == 0
    sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
    origin = read_description(model).identity
    capsys.readouterr()
    assert main(["model", "info", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"# organoseg model compact-onnx-{sha256[:12]}\n")
    for fact in (
        f"--model {out} ",
        "| classes | organoid |",
        "| organoids are reported from score | 0.3 |",
        f"| SHA-256 of the file | `{sha256}` |",
        f"| size of the file | {out.stat().st_size / 1e6:.1f} MB |",
        f"| exported from | `{origin}` |",
        f"the card of the model that it was exported from: {origin}",
        "the file is whole",
    ):
        assert fact in said, fact
    assert main(["model", "info", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["whole"]
    assert facts["bytes"] == out.stat().st_size
    assert facts["weights_sha256"] == sha256
    assert facts["trained_with"]["exported_from"] == origin
    (tmp_path / "half.onnx").write_bytes(out.read_bytes()[:-5000])
    assert main(["model", "info", str(tmp_path / "half.onnx")]) == 3
    assert "half.onnx" in capsys.readouterr().err
    assert main(["model", "info", str(tmp_path / "none.onnx")]) == 3
    assert "no model here" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["model", "info", str(out)]) == 2
    assert 'pip install "organoseg[onnx]"' in capsys.readouterr().err


def test_eight_bits_that_see_something_else_are_not_written(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("organoseg.inference.int8.LEAST_AGREEMENT", 1.1)
    out, images = tmp_path / "small.onnx", str(model.parent / "images")
    arguments = ["model", "export", str(model), "--onnx", str(out), "--int8", "--calibrate", images]
    assert main(arguments) == 1
    assert "no file was written" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr("organoseg.inference.int8.LEAST_AGREEMENT", 0.0)
    assert main(arguments) == 0
    assert "with AP" in capsys.readouterr().out
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--onnx", "out.bin"], ".onnx"),
        (["--onnx", "out.onnx", "--int8"], "belong together"),
        (["--onnx", "out.onnx", "--calibrate", "x"], "belong together"),
    ],
)
def test_what_cannot_be_meant(
    model: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "export", str(model), *arguments]) == 2
    assert said in capsys.readouterr().err
