"""The starter model: it is there, whole and small; it finds organoids; and everyone is told what it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

import organoseg
from organoseg.cli import checks
from organoseg.cli.main import main
from organoseg.core import DataError, UsageError
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.synthetic import make_image
from organoseg.dataset.world import World
from organoseg.inference.api import Model, StarterWarning
from organoseg.models.folder import load_module, read_description
from organoseg.models.starter import starter, starter_facts

#: No training used this seed.
SEED = 90_210


@pytest.fixture(scope="module")
def known() -> LabelledImage:
    """A picture with organoids that nobody would miss: neither crowded nor out of focus."""
    world = World(
        size=256, typical=(16.0, 18.0), spread=(0.1, 0.2), filling=(0.28, 0.3), overlap=(0, 0), clusters=(0, 0),
        side=(0, 0), defocus=(0.2, 0.2), focus=(0, 0), wall=(0.7, 0.8), faint=0, blobs=0, debris=(0, 3), wide=0.0,
        level=(0.5, 0.6), rim=0.0, bubble=0.0, strand=0.0,
    )  # fmt: skip
    return make_image((SEED, 1), world.spec(SEED, 1), "known.png")


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return organoseg.load_model(starter(), "cpu", "fp32")


def test_it_comes_with_the_package_small_and_whole() -> None:
    folder = starter()
    facts = starter_facts()
    assert facts.intact
    assert facts.size == (folder / "weights.safetensors").stat().st_size
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 12_000_000
    description = read_description(folder)
    assert facts.identity == description.identity
    assert description.trained_with["real_labels"] == 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert description.weights_sha256 in card
    for said in ("synthetic", "Apache-2.0", "M-OrgaQuant", "Limits"):
        assert said in card


def test_lists_of_models_ask_for_it_without_torch() -> None:
    code = (
        "import sys; from organoseg.models.starter import starter_facts; starter_facts();"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_it_finds_the_organoids_of_a_picture_it_has_not_seen(
    model: Model, known: LabelledImage
) -> None:
    from pycocotools import mask as coco

    found = model.predict(known.image)
    truth = known.instances
    assert len(truth) >= 5
    iou = np.asarray(coco.iou(truth.to_rles(), found.to_rles(), [0] * len(found)))
    assert (iou.max(axis=1) > 0.5).mean() >= 0.8, "most are found"
    assert (iou.max(axis=0) > 0.5).mean() >= 0.7, "and little else"


def test_prediction_without_a_model_takes_it_and_says_so(
    known: LabelledImage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Picture.fromarray(known.image.plane()).save(tmp_path / "known.png")
    out = tmp_path / "out"
    write = ["--write", "json", "--device", "cpu", "--threads", "1"]
    assert main(["predict", str(tmp_path / "known.png"), "--out", str(out), *write]) == 0
    said = [line for line in capfd.readouterr().err.splitlines() if "starter" in line]
    identity = starter_facts().identity
    assert len(said) == 1
    assert identity in said[0]
    assert "synthetic pictures alone" in said[0]
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert run["model"]["identity"] == identity
    assert "synthetic pictures alone" in run["model_note"]
    # A model that was chosen needs no such word, even if it is this one.
    chosen = ["--model", str(starter()), "--out", str(tmp_path / "chosen"), *write]
    assert main(["predict", str(tmp_path / "known.png"), *chosen]) == 0
    assert "no model was given" not in capfd.readouterr().err
    assert "model_note" not in json.loads((tmp_path / "chosen" / "run.json").read_text())


def test_results_of_another_model_are_not_mixed_with_its(
    known: LabelledImage, tmp_path: Path
) -> None:
    from organoseg.inference.folder import predict_folder
    from organoseg.inference.progress import silent
    from tests.inference.test_folder import save

    Picture.fromarray(known.image.plane()).save(tmp_path / "known.png")
    predict_folder([tmp_path], None, tmp_path / "out", write=("json",), device="cpu", tell=silent)
    other = save(tmp_path / "model", 0)
    with pytest.raises(UsageError, match="model"):
        predict_folder(
            [tmp_path / "known.png"], other, tmp_path / "out", write=("json",), device="cpu", tell=silent
        )  # fmt: skip


def test_the_short_road_warns(known: LabelledImage) -> None:
    with pytest.warns(StarterWarning, match="synthetic pictures alone"):
        found = organoseg.predict(known.image)
    assert len(found)


def test_a_changed_file_is_refused_and_an_absent_one_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "starter"
    shutil.copytree(starter(), copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    weights = copy / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert not starter_facts(copy).intact
    with pytest.raises(DataError, match="damaged"):
        load_module(copy)
    monkeypatch.setattr("organoseg.models.starter.starter_facts", lambda: starter_facts(copy))
    assert checks.starter_model().state == "problem"
    weights.unlink()
    with pytest.raises(DataError, match="not in this installation"):
        starter(copy)
    finding = checks.starter_model()
    assert finding.state == "problem"
    assert finding.remedy is not None


def test_the_doctor_names_it() -> None:
    finding = checks.starter_model()
    assert finding.state == "ok"
    assert starter_facts().identity in finding.value
