"""Makes the pictures of docs/tutorials/review_loop.md anew. Needs a display (or xvfb-run); not a test.

organoseg data example --out example
organoseg predict example/plate --out around1
python -m tests.napari_plugin.review_pictures example/plate around1 docs/images
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

FIRST = "plate1_F02_s1.tif"
#: Strokes along (y, x) lines in pixels of FIRST, with the brush: what the model missed in it.
MISSED = (
    (((94, 0), (94, 0), 41),),
    (((191, 204), (255, 201), 23), ((228, 160), (238, 196), 24), ((243, 184), (255, 208), 30)),
    (((128, 117), (128, 117), 19),),
    (((126, 127), (146, 137), 10),),
)
MENDED = ((133, 121), (139, 122), 8)


class Reviewer:
    """Somebody at the panel."""

    def __init__(self, viewer: Any, review: Any, out: Path) -> None:
        self.viewer, self.review, self.out = viewer, review, out

    def wait(self, seconds: float) -> None:
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.02)

    def press(self, key: str) -> None:
        layer = self.viewer.layers.selection.active
        {str(k): f for k, f in layer.keymap.items()}[key](layer)
        self.wait(0.1)

    def stroke(self, start: tuple[int, int], end: tuple[int, int], size: int) -> None:
        from organoseg_napari.review_layers import EDIT

        layer, origin = self.viewer.layers[EDIT], np.asarray(self.review.canvas.origin)
        layer.brush_size = size
        with layer.block_history():
            for place in np.linspace(start, end, 12):
                layer.paint(tuple(place - origin), 1)

    def picture(self, name: str) -> None:
        self.wait(0.8)
        seen = self.viewer.screenshot(canvas_only=False, flash=False)
        small = Picture.fromarray(seen[..., :3]).quantize(256)
        small.save(self.out / f"napari_{name}.png", optimize=True)


def main(plate: Path, results: Path, out: Path) -> None:
    import napari

    from organoseg.review import create_project

    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    with tempfile.TemporaryDirectory() as folder:
        project = create_project(Path(folder) / "review1", [plate], predictions=results)
        _, review = viewer.window.add_plugin_dock_widget("organoseg", "Review organoids")
        user = Reviewer(viewer, review, out)
        user.wait(0.5)
        review.open(project.folder)
        while review.desk.place().name != FIRST:
            review.do.open_image(1)
        user.wait(0.5)
        user.press("A")
        review.canvas.look_at_all()
        user.picture("3_review")
        review.do.go_to(3)
        review.canvas.layer("review: this one").mode = "paint"
        user.stroke(*MENDED)
        user.picture("4_paint")
        review.canvas.layer("review: this one").mode = "pan_zoom"
        while review.desk.current() is not None:
            user.press("A")
        for number, strokes in enumerate(MISSED):
            user.press("D")
            for line in strokes:
                user.stroke(*line)
            if number == 1:
                user.picture("6_draw")
            user.press("A")
        user.press("W")
        review.do.open_image(-1)
        user.picture("7_done")
        review.use_nothing()
    viewer.close()


if __name__ == "__main__":
    os.environ.setdefault("ORGANOSEG_CONFIG_DIR", tempfile.mkdtemp())
    main(*(Path(argument).resolve() for argument in sys.argv[1:4]))
