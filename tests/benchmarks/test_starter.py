"""What makes, measures and shows the starter model, at a size that takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from benchmarks import starter as program
from benchmarks.synthetic_start import WORLDS, specs
from benchmarks.synthetic_start import main as start
from organoseg.core import UsageError, write_json
from organoseg.dataset.synthetic import make_image
from organoseg.io import read_instances
from organoseg.models.folder import load_module, read_description
from tests.inference.test_folder import save


def test_a_packed_model_is_half_as_large_and_the_same_to_half_precision(tmp_path: Path) -> None:
    trained, home = save(tmp_path / "model", 0, score_threshold=0.4), tmp_path / "home"
    facts = {"steps": 5, "seed": 1, "labelled_images": 7, "preset": None}
    text = (trained / "model.yaml").read_text(encoding="utf-8")
    said = text.replace("trained_with: {}", f"trained_with: {json.dumps(facts)}")
    (trained / "model.yaml").write_text(said, encoding="utf-8")
    assert program.main(["pack", str(trained), "--home", str(home)]) == 0
    size = [(folder / "weights.safetensors").stat().st_size for folder in (trained, home)]
    assert size[1] < 0.55 * size[0]
    packed, description = load_module(home)
    assert description.score_threshold == 0.4
    assert description.trained_with["real_labels"] == 0
    before = load_module(trained)[0].state_dict()
    for name, value in packed.state_dict().items():
        assert np.allclose(value.numpy(), before[name].numpy(), rtol=2e-3, atol=1e-4), name
        assert value.dtype == before[name].dtype
    card = (home / "README.md").read_text(encoding="utf-8")
    assert "7 drawn pictures, 5 steps, seed 1" in card
    assert "Not measured yet" in card

    row = dict.fromkeys(program.FIGURES, 0.5)
    write_json(tmp_path / "starter_val.json", {"images": 100, "rows": [{"name": "it", **row}]})
    assert program.main(["card", "--home", str(home), "--results", str(tmp_path)]) == 0
    card = (home / "README.md").read_text(encoding="utf-8")
    assert "| val (100) | it | 0.500 |" in card
    assert read_description(home).weights_sha256 in card


def test_a_model_too_large_for_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "LARGEST", 1000)
    with pytest.raises(UsageError, match="too large"):
        program.pack(save(tmp_path / "model", 0), tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_the_sheet_is_a_picture_a_page_can_carry(tmp_path: Path) -> None:
    path = program.sheet(7, None, tmp_path)
    assert path.stat().st_size < 300_000
    with Picture.open(path) as page:
        assert page.size == (4 * program.SIDE, 2 * program.SIDE)


def test_worlds_grow(tmp_path: Path) -> None:
    shown = {name: [make_image((0, k), specs(name, 96)(0, k)) for k in range(2)] for name in WORLDS}
    identities = {items[1].image.identity for items in shown.values()}
    assert len(identities) == len(WORLDS)
    assert specs("walls", 96)(0, 0).overlap == 0
    assert specs("whole", 96)(0, 0).debris > 0
    out = ["--out", str(tmp_path), "--size", "64", "--images", "3", "--validation", "2"]
    assert start([*out, "--world", "whole", "--processes", "1", "--only-images"]) == 0
    labels, others = (read_instances(tmp_path / f"{n}.json") for n in ("labels", "validation"))
    assert len(labels) == 3
    assert len(others) == 2
    assert not labels.keys() & others.keys()
    assert all((tmp_path / "images" / name).is_file() for name in labels)
    assert all((tmp_path / "validation" / name).is_file() for name in others)
