"""The Train panel over run folders in which nothing runs any more: what it shows, suggests and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from organoseg_napari import settings

pytestmark = pytest.mark.usefixtures("screen")


def finished(out: Path, validation: dict[str, Any] | None) -> Path:
    """A run folder as a training leaves it, with the note of who started it."""
    (out / "samples").mkdir(parents=True)
    (out / "recipe.yaml").write_text(json.dumps({"data": {"validation": validation}}))
    (out / "result.json").write_text("{}")
    (out / "model").mkdir()
    (out / "model" / "model.yaml").write_text("engine: compact\ncreated: '2026-01-01'\n")
    lines: list[dict[str, Any]] = [{"step": 10, "kind": "train", "loss": 2.0}]
    if validation:
        figures = {"AP": 0.5, "AP_low": 0.4, "AP_high": 0.6}
        lines.append({"step": 10, "kind": "validation", **figures})
        pixels = np.full((40, 120, 3), 90, np.uint8)
        Picture.fromarray(pixels).save(out / "samples" / "step-00010.png")
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = {"out": str(out), "recipe": str(out / "recipe.yaml"), "pid": 2**22 + 1, "born": 0.0}
    out.with_name(f"{out.name}.job.json").write_text(json.dumps(job))
    return out


def test_a_run_shows_its_interval_and_its_pictures_and_one_without_held_out_images_says_so(
    screen: str, make_napari_viewer_proxy: Any, qtbot: Any, tmp_path: Path
) -> None:
    from organoseg_napari.train import TrainWidget

    viewer = make_napari_viewer_proxy(show=True)
    train = TrainWidget(viewer)
    viewer.window.add_dock_widget(train)
    qtbot.waitUntil(train.isVisible, timeout=30_000)
    train.attach(finished(tmp_path / "measured", {"annotations": "a.json", "images": "."}))
    assert train.chart.figure() == "AP, now 0.500 (0.40 to 0.60)"
    assert train.picture.isVisible()
    assert "step 10" in train.picture.words
    assert train.judge.isEnabled()
    assert not train.chart.grab().toImage().isNull()
    assert not train.picture.grab().toImage().isNull()

    train.picture.clicked.emit()
    assert viewer.layers[-1].data.shape == (40, 120, 3), "large, as a layer"

    train.attach(finished(tmp_path / "unmeasured", None))
    assert "no held-out images" in train.chart.figure()
    assert not train.picture.isVisible()
    assert not train.judge.isEnabled()
    assert "other wells" in train.verdict.text()
    train.close()


def test_what_was_exported_last_is_suggested_and_new_models_are_in_the_list(
    screen: str, make_napari_viewer_proxy: Any, qtbot: Any, tmp_path: Path
) -> None:
    from organoseg_napari import models
    from organoseg_napari.train import TrainWidget

    (tmp_path / "dataset").mkdir()
    (tmp_path / "runs" / "dataset-1").mkdir(parents=True)
    settings.remember("last_export", str(tmp_path / "dataset"))
    viewer = make_napari_viewer_proxy(show=True)
    train = TrainWidget(viewer)
    viewer.window.add_dock_widget(train)
    qtbot.waitUntil(train.isVisible, timeout=30_000)
    assert train.source.text() == str(tmp_path / "dataset")
    assert train.out.text() == str(tmp_path / "runs" / "dataset-2")

    count = train.before.count()
    model = tmp_path / "runs" / "dataset-1" / "model"
    model.mkdir()
    (model / "model.yaml").write_text("engine: compact\ncreated: '2026-01-01'\n")
    models.add_model(model)
    train.before.showPopup()
    train.before.hidePopup()
    assert train.before.count() == count + 1
    assert train.before.currentData() is None, "what was chosen stays chosen"
    train.close()
