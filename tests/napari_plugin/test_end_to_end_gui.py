"""The whole loop in a real window: sample, segment, review, export, train. With pictures, where they are asked for.

``ORGANOSEG_SCREENSHOTS=docs/images`` makes pictures of docs/napari.md anew, `review_pictures` the others.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.ndimage import binary_erosion

from organoseg.core import Instances, Mask
from organoseg.dataset.synthetic import iter_images
from organoseg_napari import samples
from organoseg_napari.review_layers import EDIT

_GIVEN = os.environ.get("ORGANOSEG_SCREENSHOTS")
PICTURES = Path(_GIVEN).resolve() if _GIVEN else None  # the tests change the working folder

pytestmark = pytest.mark.usefixtures("screen")


class Nearly:
    """A model without torch, nearly right: one missed, one too small, two taken for one, dirt taken for one."""

    score_threshold = 0.3

    def __init__(self) -> None:
        drawn = iter_images(samples.SEED, 4, samples._spec(256))
        self.truth = {d.image.identity: d.instances for d in drawn}

    def segment(self, image: Any, score_threshold: float | None = None) -> Instances:
        masks = list(self.truth[image.identity].masks)
        first, second = masks.pop(0), masks.pop(0)
        dirt = np.ones((9, 9), bool)
        small = Mask.from_bits(binary_erosion(first.bits, iterations=3), first.y, first.x)
        both = np.zeros(image.shape, bool)
        for mask in masks[:2]:
            y0, x0, y1, x1 = mask.box
            both[y0:y1, x0:x1] |= mask.bits
        made = [small, Mask(120, 120, dirt), Mask.from_bits(both), *masks[2:]]
        kept = [m for m in made if m is not None]
        assert second.area
        scores = np.concatenate([[0.45, 0.4, 0.6], np.linspace(0.95, 0.8, len(kept))])[: len(kept)]
        sources = ["model:nearly-1"] * len(kept)
        return Instances.from_masks(image.shape, kept, scores=scores, sources=sources)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import organoseg

    folder = tmp_path / "runs" / "first" / "model"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text("engine: compact\ncreated: '2026-01-01'\n")
    monkeypatch.setattr(organoseg, "load_model", lambda *a, **k: Nearly(), raising=False)


class Script:
    """A user at the window."""

    def __init__(self, viewer: Any, qtbot: Any) -> None:
        self.viewer, self.qtbot = viewer, qtbot

    def picture(self, name: str) -> None:
        """Keep what the user sees, where somebody wants to see it."""
        if PICTURES is not None:
            from PIL import Image as Picture

            self.qtbot.wait(400)
            seen = self.viewer.screenshot(canvas_only=False, flash=False)
            target = PICTURES / f"napari_{name}.png"
            Picture.fromarray(seen[..., :3]).quantize(128).save(target, optimize=True)

    def press(self, key: str) -> None:
        layer = self.viewer.layers.selection.active
        {str(k): f for k, f in layer.keymap.items()}[key](layer)

    def stroke(self, review: Any, y: float, x: float, label: int = 1, size: int = 10) -> None:
        layer = self.viewer.layers[EDIT]
        layer.mode, layer.brush_size = "paint" if label else "erase", size
        oy, ox = review.canvas.origin
        with layer.block_history():
            layer.paint((y - oy, x - ox), label)

    def point(self, y: float, x: float) -> None:
        self.viewer.cursor.position = tuple(np.array([y, x]) * self.viewer.layers[EDIT].scale)


def lines(folder: Path) -> list[dict[str, Any]]:
    """The journal after its head."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_bytes().splitlines()[1:]]


def test_the_whole_loop(
    screen: str, make_napari_viewer_proxy: Any, qtbot: Any, model: None, tmp_path: Path
) -> None:
    from organoseg_napari.begin import begin_with_layers
    from organoseg_napari.review import ReviewWidget
    from organoseg_napari.segment import SegmentWidget
    from organoseg_napari.train import TrainWidget

    viewer = make_napari_viewer_proxy(show=True)
    viewer.window.resize(1400, 900)
    user = Script(viewer, qtbot)

    # 1. A sample, segmented.
    ((pixels, state, _),) = samples.time_lapse()
    viewer.add_image(pixels[:4], **state)
    segment = SegmentWidget(viewer)
    dock = viewer.window.add_dock_widget(segment, name="Segment organoids")
    user.picture("1_segment")
    segment.run()
    qtbot.waitUntil(lambda: segment.worker is None, timeout=60_000)
    assert "Found" in segment.status.text()
    user.picture("2_found")
    viewer.window.remove_dock_widget(dock)

    # 2. A review of it.
    folder = tmp_path / "lapse"
    image, labels = viewer.layers["synthetic time-lapse"], viewer.layers[-1]
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review, name="Review organoids")
    review.begin(lambda: begin_with_layers(folder, image, labels))
    qtbot.waitUntil(lambda: review.desk is not None, timeout=60_000)
    files = sorted((folder / "images").iterdir())
    assert len(files) == 4
    assert not labels.visible, "it would cover the image under review"
    sums = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    desk = review.desk
    first = desk.current()
    assert first is not None
    assert review.canvas.number == first

    # Accept, reject, take back.
    user.press("A")
    assert desk.organoids()[first].state == "accepted"
    second = desk.current()
    user.press("R")
    assert desk.organoids()[second].state == "rejected"
    user.press("U")
    assert desk.organoids()[second].state == "open"
    assert review.canvas.number == second

    # Paint; the stroke is on disk when it is done.
    mask = desk.organoids()[second].mask
    y0, x0, _, x1 = mask.box
    review.viewer.layers[EDIT].brush_size = 8
    before = len(lines(folder / "review"))
    user.stroke(review, y0, (x0 + x1) / 2, size=12)
    assert len(lines(folder / "review")) == before + 1
    assert desk.organoids()[second].mask.area > mask.area

    # Two that were taken for one are split; merged again by pointing; split for good.
    both = next(n for n, item in desk.organoids().items() if abs(item.score - 0.6) < 0.01)
    review.do.go_to(both)
    count = len(desk.organoids())
    user.press("S")
    assert len(desk.organoids()) == count + 1
    user.picture("5_split")
    halves = {n for n in desk.organoids() if n > both} & set(list(desk.organoids())[-2:])
    (other,) = halves - {desk.current()}
    user.point(*desk.organoids()[other].mask.centroid)
    user.press("G")
    assert len(desk.organoids()) == count
    user.press("U")
    assert len(desk.organoids()) == count + 1

    # Draw a new one.
    user.press("D")
    user.stroke(review, 12, 12, size=16)
    assert desk.organoids()[desk.current()].state == "drawn"

    # Everything judged, every image done.
    for number in range(4):
        assert desk.place().image == number + 1
        user.press("W")
        if desk.place().image == number + 1 and not desk.place().complete:
            user.press("W")  # a second time: all that is left is right
    assert desk.session.progress().images_complete == 4
    assert sums == {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    # 3. Into a data set, and a short training.
    data = tmp_path / "dataset"
    review.export(data)
    qtbot.waitUntil(lambda: review.worker is None, timeout=60_000)
    user.picture("8_export")
    assert (data / "labels.json").exists(), review.panel.hint.text()
    train = TrainWidget(viewer)
    viewer.window.add_dock_widget(train, name="Train a model", tabify=True)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(short(data, tmp_path)))
    train.source.setText(str(recipe))
    train.out.setText(str(tmp_path / "runs" / "second"))
    train.steps.setValue(12)
    train.run()
    qtbot.waitUntil(lambda: train.state not in ("none", "starting"), timeout=120_000)
    user.picture("9_train")
    qtbot.waitUntil(lambda: train.state not in ("starting", "running"), timeout=120_000)
    assert train.state == "finished", train.status.text()
    assert (tmp_path / "runs" / "second" / "model" / "model.yaml").exists()
    user.picture("10_trained")
    review.close()
    segment.close()
    train.close()


def short(data: Path, folder: Path) -> dict[str, Any]:
    """The recipe of the exported data set, for a training of seconds without a download."""
    from organoseg_napari.recipes import recipe_for

    recipe = yaml.safe_load(recipe_for(data, folder / "unused").read_text())
    recipe["model"] = {"encoder_weights": None}
    recipe["training"] = {
        "batch": 1,
        "warmup": 1,
        "augmentation": {"crop": 64},
        "checkpoint_every": 10,
        "device": "cpu",
        "threads": 1,
    }
    return recipe
