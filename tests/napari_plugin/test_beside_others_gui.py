"""A review in a window in which other layers are open, and into a folder that is not there yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import Image
from organoseg_napari import framing
from organoseg_napari.review_layers import EDIT, IMAGE, NUMBERS, OUTLINES
from tests.napari_plugin.fake_desk import FakeDesk
from tests.review.small import make_project

pytestmark = pytest.mark.usefixtures("screen")


def test_layers_of_others_do_not_disturb_the_picture(
    screen: str, make_napari_viewer_proxy: Any
) -> None:
    from organoseg_napari.review import ReviewWidget

    viewer = make_napari_viewer_proxy(show=True)
    other = viewer.add_image(np.zeros((900, 900), np.uint8), name="of Segment")
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review)
    desk = FakeDesk()
    desk.images = [Image(i.pixels, name=i.name, pixel_size=(1.3, 0.65)) for i in desk.images]
    review.use(desk)
    layers, canvas = viewer.layers, review.canvas
    ours = [layers[name] for name in (IMAGE, OUTLINES, NUMBERS, EDIT)]

    # In one unit with what is open already, or napari warns, and lays each layer out by itself.
    assert {str(unit) for layer in ours for unit in layer.units} == {"pixel"}
    assert {tuple(layer.scale) for layer in ours} == {(2.0, 1.0)}, "its shape is kept"
    assert not other.visible
    assert other in layers

    # Each image fills the window, however large the others are.
    if hasattr(viewer, "canvas"):
        expected = framing.whole((400.0, 240.0), canvas._canvas_size())
        review.do.open_image(1)
        canvas.look_at_all()
        assert canvas._camera().zoom == pytest.approx(expected.zoom)
        assert tuple(canvas._camera().center[-2:]) == pytest.approx((199.0, 119.5))

    # A drawing takes the brush; the next organoid, or image, gives the mouse back to moving.
    for leave in (review.do.next, lambda: review.do.open_image(-1)):
        assert layers[EDIT].mode == "pan_zoom"
        review.do.draw()
        review.do.draw()
        assert layers[EDIT].mode == "paint"
        leave()
        assert layers[EDIT].mode == "pan_zoom"
    layers[EDIT].mode = "erase"
    review.do.next()
    assert layers[EDIT].mode == "erase", "what the user chose stays"

    # Alone again, the next image has its micrometres.
    layers.remove(other)
    review.do.open_image(1)
    assert {str(unit) for layer in ours for unit in layer.units} == {"micrometer"}
    assert {tuple(layer.scale) for layer in ours} == {(1.3, 0.65)}

    # The table takes the room that there is.
    from qtpy.QtWidgets import QSizePolicy

    assert review.sizePolicy().verticalPolicy() == QSizePolicy.Policy.Expanding
    assert not review.panel.table.isColumnHidden(3)
    desk.all[desk.at] = {n: i._replace(why="") for n, i in desk.all[desk.at].items()}
    review.refresh(force=True)
    assert review.panel.table.isColumnHidden(3), "no empty column"
    review.close()


def test_corrections_go_to_a_folder_that_is_not_there_yet(
    screen: str, make_napari_viewer_proxy: Any, qtbot: Any, tmp_path: Path
) -> None:
    from napari.utils.notifications import notification_manager
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    from organoseg_napari.folder_question import FolderQuestion
    from organoseg_napari.review import ReviewWidget

    viewer = make_napari_viewer_proxy(show=True)
    review = ReviewWidget(viewer)
    viewer.window.add_dock_widget(review)
    told = len(notification_manager.records)
    review.ask_for_export()
    assert "No review is open" in review.panel.hint.text()
    assert len(notification_manager.records) == told, "said in the panel, not over the picture"
    project = make_project(tmp_path, 2)
    review.open(project.folder)
    review.do.accept()

    suggested: list[str] = []

    def answer(name: str) -> None:
        question = QApplication.activeModalWidget()
        assert isinstance(question, FolderQuestion)
        suggested.append(question.name.text())
        question.name.setText(name)
        question.accept()

    QTimer.singleShot(0, lambda: answer("brand new"))
    review.ask_for_export()
    qtbot.waitUntil(lambda: review.worker is None, timeout=30_000)
    assert (tmp_path / "brand new" / "labels.json").is_file(), review.panel.hint.text()
    assert "1 image added" in review.panel.hint.text()
    QTimer.singleShot(0, lambda: answer(str(tmp_path / "brand new")))
    review.ask_for_export()
    qtbot.waitUntil(lambda: review.worker is None, timeout=30_000)
    assert "1 image there already" in review.panel.hint.text()
    assert suggested == [str(tmp_path / "dataset"), str(tmp_path / "brand new")]

    file = tmp_path / "instances.json"
    question = FolderQuestion("A folder", "", file, review)
    ok = question.buttons.button(question.buttons.StandardButton.Ok)
    assert not ok.isEnabled(), "a file is no folder"
    question.name.setText("")
    assert not ok.isEnabled()
    question.name.setText("other")
    assert ok.isEnabled()
    assert question.folder() == tmp_path / "other"
    assert not (tmp_path / "other").exists(), "nothing is made by asking"
    review.close()
