"""Beginning a review, and what a biologist may bring to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import DataError, Instances, Mask, UsageError
from organoseg.io import read_image, write_instances
from organoseg_napari import begin
from organoseg_napari.conversion import labels_layer
from organoseg_napari.review_layers import EDIT, NUMBERS, OUTLINES

napari = pytest.importorskip("napari")


def squares(count: int, side: int) -> Instances:
    """So many squares of 5 px on a grid."""
    across = side // 8
    masks = [Mask(8 * (n // across), 8 * (n % across), np.ones((5, 5), bool)) for n in range(count)]
    return Instances.from_masks((side, side), masks, scores=np.linspace(0.3, 0.9, count))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)


def test_open_layers_become_a_review_with_their_overlaps(
    pixels: np.ndarray, tmp_path: Path
) -> None:
    big = Mask(10, 10, np.ones((20, 20), bool))
    small = Mask(15, 15, np.ones((5, 5), bool))
    found = Instances.from_masks((64, 64), [big, small], scores=[0.9, 0.8], ids=[4, 9])
    data, state, _ = labels_layer([found], "found", scale=(2.0, 3.0))
    units = ("micrometer", "micrometer")
    image = napari.layers.Image(pixels, name="plate 1/A 01", scale=(2.0, 3.0), units=units)
    begun = begin.begin_with_layers(tmp_path / "r", image, napari.layers.Labels(data, **state))
    assert begun.left_out == []
    desk = begin.open_desk(begun.project.folder)
    areas = {n: item.mask.area for n, item in desk.organoids().items()}
    assert areas == {4: 400, 9: 25}, "the one underneath is whole"
    written = read_image(tmp_path / "r" / "images" / "plate_1_A_01.tif")
    assert written.pixel_size == pytest.approx((2.0, 3.0))
    assert np.array_equal(written.pixels, pixels)
    desk.close()
    with pytest.raises(UsageError, match="something in this folder"):
        begin.begin_with_layers(tmp_path / "r", image, None)


def test_labels_of_another_image_are_refused(pixels: np.ndarray, tmp_path: Path) -> None:
    image = napari.layers.Image(pixels)
    labels = napari.layers.Labels(np.ones((9, 9), int))
    with pytest.raises(UsageError, match="another size"):
        begin.begin_with_layers(tmp_path / "r", image, labels)
    assert not (tmp_path / "r").exists(), "nothing half-made is left"


def test_a_review_never_lies_among_the_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match="never written to"):
        begin.begin(tmp_path / "images" / "review", tmp_path / "images")
    with pytest.raises(DataError, match="no review"):
        begin.open_desk(tmp_path / "images")


def test_labels_that_cannot_be_painted_get_a_copy_that_can() -> None:
    dask = pytest.importorskip("dask.array")
    from organoseg_napari.paintable import make_paintable

    data = np.zeros((32, 32), np.int32)
    fine = napari.layers.Labels(data.copy())
    assert make_paintable(fine) is None
    read_only = data.copy()
    read_only.flags.writeable = False
    for layer in (
        napari.layers.Labels(dask.from_array(data, chunks=16), scale=(2, 2)),
        napari.layers.Labels([data, data[::2, ::2]], multiscale=True, scale=(2, 2)),
        napari.layers.Labels(read_only, scale=(2, 2)),
    ):
        ((copy, state, kind),) = make_paintable(layer)
        made = napari.layers.Layer.create(copy, state, kind)
        assert made.editable
        made.paint((5, 5), 3)
        assert np.asarray(made.data)[5, 5] == 3
        assert tuple(made.scale) == (2, 2)
        assert not layer.visible
        assert not data.any(), "the original is as it was"


def test_in_a_window(
    screen: str, make_napari_viewer_proxy: Any, qtbot: Any, pixels: np.ndarray, tmp_path: Path
) -> None:
    import tifffile

    from organoseg_napari.new_review import NewReview
    from organoseg_napari.review import ReviewWidget

    viewer = make_napari_viewer_proxy(show=True)
    widget = ReviewWidget(viewer)
    viewer.window.add_dock_widget(widget)
    widget.do.accept()
    assert "No review is open" in widget.panel.hint.text()

    # An image without organoids: what to do is said.
    viewer.add_image(pixels, name="bare")
    question = NewReview(viewer, widget)
    assert question.image.layer() is not None
    with pytest.raises(UsageError, match="needs a folder"):
        question.work()
    question.folder.setText(str(tmp_path / "bare"))
    widget.begin(question.work())
    question.reject()
    qtbot.waitUntil(lambda: widget.desk is not None, timeout=30_000)
    assert "Draw what was missed (D)" in widget.panel.hint.text()
    layer = viewer.layers[EDIT]
    widget.do.draw()
    with layer.block_history():
        layer.paint((20, 20), 1)
    assert len(widget.desk.organoids()) == 1
    widget.do.accept()
    assert next(iter(widget.desk.organoids().values())).state == "drawn"
    first = widget.desk.session.project.folder

    # The folder that the user named does as well as the one inside it; what is left to press is said.
    assert first == tmp_path / "bare" / "review"
    widget.open(tmp_path / "bare")
    assert widget.desk is not None
    assert not widget.desk.read_only
    widget.do.complete()
    assert "Use for training" in widget.panel.hint.text()
    widget.do.complete()

    # A second window looks, and is told; nothing that it paints looks as if it were kept.
    other = ReviewWidget(viewer)
    other.open(first)
    assert "open already" in other.desk.read_only
    before = (first / "journal.jsonl").read_bytes()
    other.do.accept()
    other.do.delete()
    other.do.draw()
    assert (first / "journal.jsonl").read_bytes() == before
    other.close()

    # 2,000 organoids, and a picture that cannot be read beside them.
    images = tmp_path / "plate"
    images.mkdir()
    tifffile.imwrite(images / "many.tif", np.zeros((512, 512), np.uint8))
    (images / "broken.tif").write_bytes(b"no")
    write_instances(tmp_path / "found.json", [("many.tif", squares(2000, 512))])
    question = NewReview(viewer, widget)
    question.tabs.setCurrentIndex(1)
    question.folder.setText(str(tmp_path / "many"))
    with pytest.raises(UsageError, match="No images"):
        question.work()
    question.images.setText(str(images))
    question.predictions.setText(str(tmp_path / "found.json"))
    widget.begin(question.work())
    question.reject()
    qtbot.waitUntil(lambda: len(widget.view.items) == 2000, timeout=60_000)
    assert len(viewer.layers[NUMBERS].data) == 2000
    assert widget.panel.queue.rowCount() == 2000
    widget.do.accept()
    assert (np.asarray(viewer.layers[OUTLINES].data) == 2).any()

    # A journal of another project, and images that were taken away: said, and the window lives on.
    widget.use_nothing()
    (tmp_path / "many" / "journal.jsonl").write_bytes(before)
    widget.open(tmp_path / "many")
    assert widget.desk is None
    assert "another review project" in widget.panel.hint.text()
    moved = tmp_path / "elsewhere" / "renamed.tif"
    moved.parent.mkdir()
    (tmp_path / "bare" / "images" / "bare.tif").rename(moved)
    widget.open(first)
    assert widget.desk is None
    assert "bare.tif" in widget.panel.hint.text()
    assert widget.panel.find.isVisible(), "what to press is shown when it is needed"
    widget.find_images(moved.parent)
    assert len(widget.desk.organoids()) == 1, "found by its pixels"
    assert not widget.panel.find.isVisible()
    widget.close()
