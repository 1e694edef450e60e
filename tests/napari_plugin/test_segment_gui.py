"""Segmenting in a real window: with a model that needs no torch, and with none."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import Instances, Mask
from organoseg_napari import models

pytestmark = pytest.mark.usefixtures("screen")


class Threshold:
    """Finds what is bright; waits for a signal, so that a test can stop it."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.threads: set[int] = set()
        self.seen = 0

    def segment(self, image: Any, score_threshold: float | None = None) -> Instances:
        self.threads.add(threading.get_ident())
        self.seen += 1
        assert self.go_on.wait(30)
        bits = image.plane() > 100
        left, right = bits.copy(), bits.copy()
        left[:, image.shape[1] * 3 // 4 :] = False
        right[:, : image.shape[1] // 4] = False
        masks = [m for m in (Mask.from_bits(left), Mask.from_bits(right)) if m is not None]
        return Instances.from_masks(image.shape, masks, scores=[0.9, 0.8][: len(masks)])


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Threshold:
    import organoseg

    folder = tmp_path / "runs" / "first" / "model"
    folder.mkdir(parents=True)
    text = "engine: compact\ncreated: 2026-01-01T10:00\ntrained_with: {labelled_images: 5}\n"
    (folder / "model.yaml").write_text(text)
    made = Threshold()
    monkeypatch.setattr(organoseg, "load_model", lambda *a, **k: made, raising=False)
    return made


def wait(qtbot: Any, widget: Any) -> None:
    qtbot.waitUntil(lambda: widget.worker is None, timeout=30_000)


def test_segment(screen: str, make_napari_viewer_proxy: Any, qtbot: Any, model: Threshold) -> None:
    from organoseg_napari.segment import SegmentWidget

    viewer = make_napari_viewer_proxy(show=True)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    assert not widget.start.isEnabled()
    assert "Open an image" in widget.status.text()
    assert widget.model.currentText() == "first", "a run in the working folder is found by itself"

    pixels = np.zeros((60, 80), np.uint8)
    pixels[20:40, 10:70] = 200
    units = ("micrometer", "micrometer")
    viewer.add_image(pixels, name="well", scale=(2, 2), units=units, translate=(10, 0))
    assert widget.start.isEnabled()
    model.go_on.clear()
    widget.run()
    assert not widget.start.isEnabled(), "the window is free, but a second start makes no sense"
    model.go_on.set()
    wait(qtbot, widget)
    assert threading.get_ident() not in model.threads
    layer = viewer.layers["well organoids"]
    assert tuple(layer.scale) == (2, 2)
    assert tuple(layer.translate) == (10, 0)
    assert str(layer.units[0]) == "micrometer"
    assert layer.features["index"].tolist() == [1, 2]
    assert "Found 2 organoids" in widget.status.text()
    assert "over or under another" in widget.status.text()

    # A time-lapse, stopped in the middle: nothing half-done is left.
    viewer.add_image(np.stack([pixels] * 4), name="lapse")
    count, seen = len(viewer.layers), model.seen
    model.go_on.clear()
    widget.run()
    qtbot.waitUntil(lambda: model.seen > seen, timeout=30_000)
    widget.cancel()
    model.go_on.set()
    wait(qtbot, widget)
    assert len(viewer.layers) == count
    assert model.seen < seen + 4
    assert "Stopped" in widget.status.text()
    widget.run()
    wait(qtbot, widget)
    assert viewer.layers["lapse organoids"].data.shape == (4, 60, 80)
    ids = viewer.layers["lapse organoids"].features["index"].tolist()
    assert len(set(ids)) == 8, "one number an organoid over the whole stack"

    # A picture without organoids, and pixels that are no numbers.
    viewer.add_image(np.zeros((20, 20), np.uint8), name="bare")
    widget.run()
    wait(qtbot, widget)
    assert "Found 0 organoids" in widget.status.text()
    assert not viewer.layers["bare organoids"].data.any()

    # torch absent: what to do, not a traceback.
    import organoseg

    def absent(*args: Any, **kwargs: Any) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    organoseg.load_model = absent  # put back by the fixture
    widget._loaded.key = None
    widget.run()
    wait(qtbot, widget)
    assert "pip install torch" in widget.status.text()
    assert widget.start.isEnabled()
    widget.close()


def test_the_list_of_models(tmp_path: Path) -> None:
    from organoseg.core import DataError

    folder = tmp_path / "elsewhere" / "model"
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match="no model"):
        models.add_model(folder)
    (folder / "model.yaml").write_text("engine: [")
    with pytest.raises(DataError, match="cannot be read"):
        models.add_model(folder)
    (folder / "model.yaml").write_text("engine: compact\ncreated: '2026-01-01'\n")
    models.add_model(folder)
    assert [m.title for m in models.known_models()] == ["elsewhere", "starter"]
    (folder / "model.yaml").unlink()
    (last,) = models.known_models()
    assert last.title == "starter", "the one that comes with the package, after the user's own"
    assert "synthetic pictures alone" in last.facts


@pytest.mark.parametrize("qt", ["pyside6", "pyqt6"])
def test_every_widget_opens_with_each_binding_and_without_torch(
    screen: str, qt: str, tmp_path: Path
) -> None:
    import importlib.util
    import os
    import subprocess

    module = {"pyside6": "PySide6", "pyqt6": "PyQt6"}[qt]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import json, napari, qtpy\n"
        "from pathlib import Path\n"
        "viewer = napari.Viewer(show=False)\n"
        "seen = [qtpy.API_NAME]\n"
        "for name in ('Segment organoids', 'Review organoids', 'Train a model'):\n"
        "    dock, widget = viewer.window.add_plugin_dock_widget('organoseg', name)\n"
        "    seen.append(type(widget).__name__)\n"
        "for key in ('organoids', 'outlined', 'time_lapse'):\n"
        "    viewer.open_sample('organoseg', key)\n"
        "labels = next(l for l in viewer.layers if type(l).__name__ == 'Labels')\n"
        "for ending in ('json', 'tif', 'zarr'):\n"
        "    seen.append(len(labels.save(f'saved.{ending}', plugin='organoseg')))\n"
        "for path in ('saved.json', 'saved.zarr'):\n"
        "    (layer,) = viewer.open(path, plugin='organoseg')\n"
        "    same = (layer.data == labels.data).all() and len(layer.features) > 9\n"
        "    seen.append(bool(same))\n"
        "Path('seen.json').write_text(json.dumps(seen))\n"
        "viewer.close()\n"
    )
    environment = {**os.environ, "QT_API": qt, "NAPARI_CONFIG": str(tmp_path / "napari.yaml")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen[0].lower() == qt
    assert seen[1:4] == ["SegmentWidget", "ReviewWidget", "TrainWidget"]
    # Files written, the table of scores among them: napari's own writer of zarr writes nothing, without a word.
    assert seen[4:7] == [1, 2, 1]
    assert seen[7:] == [True, True]
