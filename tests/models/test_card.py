"""What a model's card tells, and which models are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from organoseg.cli.main import main
from organoseg.core import UsageError
from organoseg.models.card import model_card
from organoseg.models.folder import ModelDescription
from organoseg.models.shelf import models_at_hand

WEIGHTS = b"weights"
SHA = "9fccaf0b0b4f1bd68b6d9b7bc0cb48d4a7c6a0c1a6d3ac2d4ac7a1f5b6d0a1b2"
FIGURES = {
    "AP": 0.71234,
    "AP50": 0.9,
    "recall_overlapping": None,
    "images": 30,
    "organoids": 400,
    "overlapping_organoids": 77,
}


def description(**changes: Any) -> ModelDescription:
    facts: dict[str, Any] = {
        "engine": "compact",
        "classes": {1: "cyst", 2: "bud"},
        "score_threshold": 0.42,
        "pixel_size": 0.65,
        "weights_sha256": SHA,
        "created": "2026-01-02T03:04:05+00:00",
        "trained_with": {"method": "guided", "labelled_images": 15, "unlabelled_images": 1540, "figure": 3},
    }  # fmt: skip
    return ModelDescription(**(facts | changes))


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_tells_data_figures_checksum_and_limits() -> None:
    card = model_card(description(), FIGURES, "thumbnail.png")
    for said in (
        SHA,
        "cyst, bud",
        "0.42",
        "0.65 µm",
        "| 0.712 |",
        "| 15 |",
        "| 1540 |",
        "figure: 3",
        "no value",
    ):
        assert said in card, said
    assert "30 images with 400 organoids, 77 of which overlap" in card
    assert "![" in card.partition("## What it is")[0]
    assert "## Limits" in card
    assert front_matter(card)["results"] == {"AP": 0.7123, "AP50": 0.9}


def test_a_model_that_was_not_measured_says_so() -> None:
    card = model_card(description(trained_with={}, pixel_size=None))
    assert "Not measured" in card
    assert "Nothing is written down" in card
    assert "![" not in card
    assert "results" not in front_matter(card)


def write_model(folder: Path, **changes: Any) -> Path:
    import hashlib

    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    made = description(weights_sha256=hashlib.sha256(WEIGHTS).hexdigest(), **changes)
    (folder / "model.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json")))
    return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("organoseg.models.shelf.starter_folder", lambda: None)
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))
    write_model(tmp_path / "cache" / "models" / "lab")
    write_model(tmp_path / "runs" / "b" / "model", engine="mask2former")
    write_model(tmp_path / "runs" / "a" / "model")
    (tmp_path / "runs" / "c" / "model").mkdir(parents=True)
    (tmp_path / "runs" / "c" / "model" / "model.yaml").write_text("engine: [")
    return tmp_path


def test_models_of_cache_and_runs_are_found_and_bad_ones_named(shelf: Path) -> None:
    found = list(models_at_hand(shelf / "cache" / "models", [shelf / "runs", shelf / "runs" / "a"]))
    names = [(m.origin, m.path.relative_to(shelf).as_posix(), m.problem is None) for m in found]
    assert names == [
        ("cache", "cache/models/lab", True),
        ("run", "runs/a/model", True),
        ("run", "runs/b/model", True),
        ("run", "runs/c/model", False),
    ]
    with pytest.raises(UsageError, match="no such folder"):
        list(models_at_hand(shelf / "cache", [shelf / "nowhere"]))


def test_the_list_is_a_table_or_json(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "list", str(shelf / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert "guided: 15 labelled + 1540" in lines[1]
    assert "cannot be used" in lines[4]
    assert main(["model", "list", str(shelf / "runs"), "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert [m["origin"] for m in models] == ["cache", "run", "run", "run"]
    assert "problem" in models[-1]


def test_an_empty_shelf_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("organoseg.models.shelf.starter_folder", lambda: None)
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "none"))
    assert main(["model", "list", str(tmp_path)]) == 0
    assert "organoseg train" in capsys.readouterr().out


def test_info_takes_a_run_and_sees_damage(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shelf / "runs" / "a"
    assert main(["model", "info", str(run)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# organoseg model compact-")
    assert "are whole" in said
    (run / "model" / "weights.safetensors").write_bytes(b"other")
    assert main(["model", "info", str(run / "model")]) == 3
    assert "DAMAGED" in capsys.readouterr().out
    assert main(["model", "info", str(run), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["whole"] is False
    assert main(["model", "info", str(shelf)]) == 3
    assert main(["model", "info", "starter"]) == 3
    assert "lacks the starter" in capsys.readouterr().err


def test_a_model_is_found_by_its_run_and_by_the_starters_name(tmp_path: Path) -> None:
    from organoseg.models.shelf import find_model, starter_folder

    inner = tmp_path / "run" / "model"
    inner.mkdir(parents=True)
    assert find_model(tmp_path / "run") == inner
    assert find_model(inner) == inner
    assert find_model(tmp_path / "organoids.onnx") == tmp_path / "organoids.onnx"
    assert find_model("starter") == starter_folder()
