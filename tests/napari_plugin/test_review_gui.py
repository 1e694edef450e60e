"""The review in a real window: keys, painting, undo, and the traps of Labels layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from organoseg_napari.actions import ACTIONS
from organoseg_napari.review_layers import EDIT, IMAGE, NUMBERS, OUTLINES
from tests.napari_plugin.fake_desk import FakeDesk, disc

pytestmark = pytest.mark.usefixtures("screen")


@pytest.fixture
def viewer(screen: str, make_napari_viewer_proxy: Any) -> Any:
    return make_napari_viewer_proxy(show=True)


@pytest.fixture
def review(viewer: Any) -> Iterator[Any]:
    from organoseg_napari.review import ReviewWidget

    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget, name="review")
    widget.use(FakeDesk())
    yield widget
    widget.close()


def press(review: Any, key: str) -> None:
    """As napari handles a key while our Labels layer is active."""
    from napari.utils.key_bindings import KeyBindingLike  # noqa: F401

    layer = review.viewer.layers.selection.active
    bound = {str(k): f for k, f in layer.keymap.items()}
    bound[key](layer)


def stroke(review: Any, y: int, x: int, label: int = 1) -> None:
    """One stroke of the brush at a place of the image."""
    layer = review.viewer.layers[EDIT]
    oy, ox = review.canvas.origin
    layer.mode = "paint" if label else "erase"
    with layer.block_history():
        layer.paint((y - oy, x - ox), label)


def test_everything(review: Any) -> None:
    """One viewer for many questions: a window costs seconds."""
    desk, layers = review.desk, review.viewer.layers
    assert {IMAGE, OUTLINES, NUMBERS, EDIT} <= {layer.name for layer in layers}
    assert layers.selection.active.name == EDIT

    # Keys fire on our layers, whichever is active.
    for name in (IMAGE, OUTLINES, NUMBERS, EDIT):
        bound = {str(k) for k in layers[name].keymap}
        assert {a.key for a in ACTIONS} <= bound, name

    # A neighbour that overlaps stays whole while this one is painted.
    second = desk.organoids()[2].mask
    stroke(review, 60, 80)
    stroke(review, 20, 60)
    assert desk.calls == ["replace", "replace"]
    assert np.array_equal(desk.organoids()[2].mask.bits, second.bits)
    assert desk.organoids()[1].mask.bits[0].any()
    y0, x0, _, _ = desk.organoids()[1].mask.box
    assert desk.organoids()[1].mask.bits[20 - y0, 60 - x0]

    # U takes a stroke back, on the layer as well.
    press(review, "U")
    assert not np.asarray(layers[EDIT].data)[20 - review.canvas.origin[0], 60]
    press(review, "Ctrl+Z")
    assert np.array_equal(desk.organoids()[1].mask.bits, disc(60, 60, 25).bits)
    press(review, "Y")
    assert desk.calls.count("replace") == 2

    # napari's own undo must not reach from one organoid into the next.
    stroke(review, 30, 60)
    press(review, "A")
    assert desk.organoids()[1].state == "accepted"
    assert review.canvas.number == 2
    shown = np.asarray(layers[EDIT].data).copy()
    layers[EDIT].undo()
    assert np.array_equal(np.asarray(layers[EDIT].data), shown)

    # The outlines are a drawing: painting there is refused by napari itself.
    assert not layers[OUTLINES].editable
    codes = np.asarray(layers[OUTLINES].data)
    assert codes[60 - 25 + 3, 60] in (0, 2)
    assert codes[30 - 5 : 60, 60].any(), "the accepted one has its outline again"
    assert not codes[60, 95 + 25], "the one under review has none: it is the yellow one"

    # R, K, N, J.
    press(review, "R")
    assert desk.organoids()[2].state == "rejected"
    press(review, "K")
    assert review.canvas.number == 2
    review.viewer.cursor.position = (150, 180)
    press(review, "J")
    assert review.canvas.number == 3

    # C, and the class is told.
    press(review, "C")
    assert desk.organoids()[3].kind == 2
    assert "cyst" in review.panel.where.text()

    # G joins the one under the pointer; there is none where nothing is.
    review.viewer.cursor.position = (5, 235)
    press(review, "G")
    assert "merge" not in desk.calls
    review.viewer.cursor.position = (60, 50)
    press(review, "G")
    assert desk.calls[-1] == "merge"
    assert set(desk.organoids()) == {2, 3}
    press(review, "U")
    assert set(desk.organoids()) == {1, 2, 3}

    # S along an erased line: the line goes to the pieces.
    area = desk.organoids()[1].mask.area
    press(review, "S")  # 3 is round: no waist, so nothing happens
    assert "split" not in desk.calls
    review.do.go_to(1)
    layers[EDIT].brush_size = 3
    for y in range(20, 100):
        stroke(review, y, 60, label=0)
    press(review, "S")
    pieces = [i.mask.area for n, i in desk.organoids().items() if n > 3]
    assert len(pieces) == 2
    assert sum(pieces) == area

    # D, and another mind: what was under review before is not judged unseen.
    seen, judged = desk.current(), len(desk.calls)
    for key in ("A", "R", "T", "S"):
        press(review, "D")
        assert review.canvas.number is None
        press(review, key)
        assert len(desk.calls) == judged
        assert review.canvas.number == seen

    # D, T and W.
    press(review, "D")
    assert not np.asarray(layers[EDIT].data).any()
    stroke(review, 180, 30)
    stroke(review, 184, 30)
    assert desk.calls[-2:] == ["draw", "replace"]
    press(review, "T")
    assert desk.calls[-1] == "delete"
    press(review, "W")
    assert desk.calls[-1] == "complete"

    # To another image and back; what belongs to the first is not in the second.
    review.do.open_image(1)
    assert layers[IMAGE].data is desk.images[1].pixels or np.array_equal(
        layers[IMAGE].data, desk.images[1].pixels
    )
    shown = np.asarray(layers[EDIT].data).copy()
    layers[EDIT].undo()
    assert np.array_equal(np.asarray(layers[EDIT].data), shown)

    # A key that the user changed works at once, the old one no more.
    review.panel.keys["accept"].setKeySequence("Q")
    review.panel.keys["accept"].editingFinished.emit()
    bound = {str(k) for k in layers[EDIT].keymap}
    assert "Q" in bound
    assert "A" not in bound
    press(review, "Q")
    assert desk.calls[-1] == "accepted"
    # One that is taken is refused.
    review.panel.keys["reject"].setKeySequence("M")
    review.panel.keys["reject"].editingFinished.emit()
    assert "R" in {str(k) for k in layers[EDIT].keymap}

    # A layer that the user threw away comes back with the next image.
    layers.remove(OUTLINES)
    press(review, "N")
    review.do.open_image(-1)
    assert OUTLINES in layers

    # Read-only: nothing that cannot be kept looks as if it were.
    desk.read_only = "Another napari has this review open; here it can only be looked at."
    shown = np.asarray(layers[EDIT].data).copy()
    stroke(review, 100, 100)
    assert np.array_equal(np.asarray(layers[EDIT].data), shown)
