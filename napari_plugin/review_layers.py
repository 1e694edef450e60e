"""What a review shows on the canvas: the image, thin numbered outlines, and the organoid under review by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Image, Mask

from . import contours, framing
from .contours import Box, Outlined

if TYPE_CHECKING:
    import napari

IMAGE, OUTLINES, NUMBERS, EDIT = (
    "review: image",
    "review: outlines",
    "review: numbers",
    "review: this one",
)
#: Metadata key by which other widgets know that a layer is ours.
OURS = "organoseg review"
#: Screen pixels an image pixel: more shows squares instead of an organoid.
_MOST_ZOOM = 6.0
#: The organoid is painted in a window around it: cost does not grow with the image.
_LEAST_WINDOW, _MOST_WINDOW = 384, 2048
_EDIT_COLOURS: dict[int | None, str] = {None: "transparent", 0: "transparent", 1: "#ffe14d"}


@dataclass(eq=False)
class Canvas:
    """The four layers of a review in one viewer. ``painted`` is called after each stroke of the user."""

    viewer: napari.viewer.Viewer
    painted: Callable[[], None]
    keys: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    origin: tuple[int, int] = (0, 0)
    number: int | None = None
    _made: dict[str, Any] = field(default_factory=dict)
    #: What the mouse did before a drawing was asked for; None while none was.
    _before_drawing: Any = None

    def layer(self, name: str) -> Any:
        """One of our layers; None where the user has removed it."""
        found = self._made.get(name)
        return found if found is not None and found in self.viewer.layers else None

    # -- an image -------------------------------------------------------------------------------

    def show(
        self, image: Image, organoids: Mapping[int, Outlined], numbered: Mapping[int, Mask]
    ) -> None:
        """Put another image under the outlines of ``organoids``; those of ``numbered`` get their number."""
        pixels = image.plane()
        place = self._place_of(image)
        drawn = np.zeros(image.shape, np.uint8)
        contours.draw(drawn, organoids)
        self._image(pixels, place)
        self._outlines(drawn, place)
        self.number_all(numbered, place)
        self._stop_drawing(self._edit_layer(place))
        self.look_at_all()

    def _place_of(self, image: Image) -> dict[str, Any]:
        """Scale and unit of our layers: µm where they are known, and where layers of others do not count in pixels,
        with which napari can lay out no layer in µm (it warns, and draws each at a size of its own)."""
        ours = self._made.values()
        others = [layer for layer in self.viewer.layers if not any(layer == o for o in ours)]
        in_pixels = any(str(unit) == "pixel" for layer in others for unit in layer.units[-2:])
        if image.pixel_size is None:
            return {"scale": (1.0, 1.0), "units": ("pixel", "pixel")}
        y, x = image.pixel_size
        if in_pixels:
            return {"scale": (y / x, 1.0), "units": ("pixel", "pixel")}
        return {"scale": (y, x), "units": ("micrometer", "micrometer")}

    def _image(self, pixels: NDArray[Any], place: dict[str, Any]) -> None:
        layer = self.layer(IMAGE)
        low, high = (float(v) for v in np.percentile(pixels[::4, ::4], (0.1, 99.9)))
        limits = (low, high if high > low else low + 1)
        if layer is None or layer.dtype != pixels.dtype:
            if layer is not None:
                self.viewer.layers.remove(layer)
            layer = self.viewer.add_image(
                pixels, name=IMAGE, metadata={OURS: True}, contrast_limits=limits, **place
            )
            self._adopt(IMAGE, layer)
            below = [self.layer(name) for name in (OUTLINES, EDIT, NUMBERS)]
            places = [self.viewer.layers.index(other) for other in below if other is not None]
            if places:
                self.viewer.layers.move(self.viewer.layers.index(layer), min(places))
            return
        layer.data = pixels
        _place(layer, place)
        layer.contrast_limits = limits

    def _outlines(self, drawn: NDArray[np.uint8], place: dict[str, Any]) -> None:
        layer = self.layer(OUTLINES)
        if layer is None:
            from napari.utils.colormaps import DirectLabelColormap

            colours: dict[int | None, str] = {None: "transparent", 0: "transparent"}
            colours.update(contours.COLOURS)
            layer = self.viewer.add_labels(
                drawn,
                name=OUTLINES,
                metadata={OURS: True},
                opacity=0.9,
                colormap=DirectLabelColormap(color_dict=colours),
                **place,
            )
            self._adopt(OUTLINES, layer)
        else:
            layer.data = drawn
            _place(layer, place)
        # It is a drawing of the masks, not the masks: painting here would be lost.
        layer.editable = False

    def number_all(
        self, organoids: Mapping[int, Mask], place: dict[str, Any] | None = None
    ) -> None:
        """Write each organoid's number on it."""
        import pandas as pd

        centres = np.array([mask.centroid for mask in organoids.values()], float).reshape(-1, 2)
        table = pd.DataFrame({"number": [str(number) for number in organoids]})
        layer = self.layer(NUMBERS)
        if layer is not None:
            layer.text.visible = False  # or it is laid out twice, the first time with wrong numbers
            layer.data = centres
            layer.features = table
            if place is not None:
                _place(layer, place)
            layer.text.visible = True
            return
        layer = self.viewer.add_points(
            centres,
            name=NUMBERS,
            metadata={OURS: True},
            features=table,
            size=1,
            face_color="transparent",
            border_color="transparent",
            text={"string": "{number}", "size": 9, "color": "white", "anchor": "center"},
            **(place or {}),
        )
        layer.editable = False
        self._adopt(NUMBERS, layer)

    def redraw(self, organoids: Mapping[int, Outlined], boxes: Iterable[Box]) -> None:
        """Draw the outlines anew where something has changed."""
        layer, box = self.layer(OUTLINES), contours.union(boxes)
        if layer is None or box is None:
            return
        canvas = np.asarray(layer.data)
        y0, x0, y1, x1 = box
        old = canvas[y0:y1, x0:x1].copy()
        window = contours.draw(canvas, organoids, box)
        new = canvas[window].copy()
        # Given back and set through the layer, which then sends only this window to the screen.
        canvas[window] = old
        rows, columns = np.nonzero(old != new)
        if len(rows):
            places = (rows + window[0].start, columns + window[1].start)
            layer.data_setitem(places, new[rows, columns])

    # -- the one under review -------------------------------------------------------------------

    def _edit_layer(self, place: dict[str, Any]) -> Any:
        layer = self.layer(EDIT)
        if layer is None:
            from napari.utils.colormaps import DirectLabelColormap

            layer = self.viewer.add_labels(
                np.zeros((8, 8), np.uint8),
                name=EDIT,
                metadata={OURS: True},
                opacity=0.3,
                colormap=DirectLabelColormap(color_dict=_EDIT_COLOURS),
                **place,
            )
            layer.events.paint.connect(lambda *_: self.painted())
            self._adopt(EDIT, layer)
            # The numbers are read through it.
            numbers = self.layer(NUMBERS)
            if numbers is not None:
                layers = self.viewer.layers
                layers.move(layers.index(layer), layers.index(numbers))
        _place(layer, place)
        if self.viewer.layers.selection.active != layer:
            self.viewer.layers.selection.active = layer
        return layer

    def edit(self, number: int | None, mask: Mask | None, shape: tuple[int, int]) -> None:
        """Put an organoid into the layer to paint in; ``mask`` None: an empty one, to draw in."""
        y0, x0, y1, x1 = self._window(mask, shape)
        tile = np.zeros((y1 - y0, x1 - x0), np.uint8)
        if mask is not None:
            top, left, bottom, right = mask.box
            tile[top - y0 : bottom - y0, left - x0 : right - x0][mask.bits] = 1
        image = self.layer(IMAGE)
        scale = tuple(image.scale) if image is not None else (1.0, 1.0)
        units = image.units if image is not None else ("pixel", "pixel")
        layer = self._edit_layer({"scale": scale, "units": units})
        if number != self.number:
            self._stop_drawing(layer)
        mode = layer.mode
        layer.data = tile
        layer.translate = (y0 * scale[0], x0 * scale[1])
        # napari keeps the strokes of the old data: its undo would then write into another organoid.
        layer.editable = False
        layer.editable = True
        layer.mode = mode
        layer.selected_label = 1
        self.origin, self.number = (y0, x0), number

    def begin_drawing(self) -> None:
        """Give the mouse the brush until another organoid or image comes."""
        layer = self.layer(EDIT)
        if layer is not None:
            self._before_drawing = self._before_drawing or layer.mode
            layer.mode = "paint"

    def _stop_drawing(self, layer: Any) -> None:
        if self._before_drawing is not None:
            layer.mode, self._before_drawing = self._before_drawing, None

    def refill(self, mask: Mask | None, shape: tuple[int, int]) -> None:
        """The same organoid, changed by something else than a stroke (undo, for instance)."""
        mode = self.layer(EDIT).mode if self.layer(EDIT) is not None else "pan_zoom"
        self.edit(self.number, mask, shape)
        self.layer(EDIT).mode = mode

    def drawn(self) -> Mask | None:
        """What is painted in the layer, as a mask of the whole image; None where there is nothing."""
        layer = self.layer(EDIT)
        return None if layer is None else Mask.from_bits(np.asarray(layer.data) > 0, *self.origin)

    def _window(self, mask: Mask | None, shape: tuple[int, int]) -> Box:
        height, width = shape
        if max(shape) <= 1024:
            return 0, 0, height, width
        if mask is None:
            cy, cx = self._centre()
            half = _MOST_WINDOW // 2
            y0, x0, y1, x1 = cy - half, cx - half, cy + half, cx + half
        else:
            y0, x0, y1, x1 = mask.box
            grow_y = max((_LEAST_WINDOW - (y1 - y0)) // 2, (y1 - y0) // 2, 64)
            grow_x = max((_LEAST_WINDOW - (x1 - x0)) // 2, (x1 - x0) // 2, 64)
            y0, x0, y1, x1 = y0 - grow_y, x0 - grow_x, y1 + grow_y, x1 + grow_x
        return max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)

    def _centre(self) -> tuple[int, int]:
        layer = self.layer(IMAGE)
        y, x = layer.world_to_data(self._camera().center[-2:]) if layer is not None else (0, 0)
        return int(y), int(x)

    def look_at(self, mask: Mask) -> None:
        """Bring an organoid into view; the zoom stays unless it would be too small or too large to judge."""
        layer = self.layer(IMAGE)
        if layer is None:
            return
        step, camera = np.asarray(layer.scale)[-2:], self._camera()
        y0, x0, y1, x1 = (float(v) for v in np.asarray(mask.box) * np.tile(step, 2))
        # napari has the middle of the first pixel at 0, a frame its outer edge.
        y, x = np.asarray(camera.center[-2:]) + step / 2
        now = framing.Frame((float(y), float(x)), camera.zoom)
        most = _MOST_ZOOM / float(step.min())
        self._look(
            framing.on((y0, x0, y1, x1), self._extent(layer), self._canvas_size(), now, most), step
        )

    def look_at_all(self) -> None:
        """Bring the whole image into view, whatever other layers there are."""
        layer = self.layer(IMAGE)
        if layer is not None:
            frame = framing.whole(self._extent(layer), self._canvas_size())
            self._look(frame, np.asarray(layer.scale)[-2:])

    def _look(self, frame: framing.Frame, step: NDArray[Any]) -> None:
        camera = self._camera()
        camera.zoom = frame.zoom
        y, x = (float(v) for v in np.asarray(frame.centre) - step / 2)
        camera.center = (*camera.center[:-2], y, x)

    def _extent(self, layer: Any) -> tuple[float, float]:
        height, width = (float(v) for v in np.asarray(layer.data.shape[:2]) * layer.scale[-2:])
        return height, width

    def _camera(self) -> Any:
        scene = getattr(self.viewer, "scene", None)  # napari 0.9
        return self.viewer.camera if scene is None else scene.camera

    def _canvas_size(self) -> tuple[int, int]:
        canvas = getattr(self.viewer, "canvas", None)  # napari 0.9; before, a usual size
        return tuple(canvas.size) if canvas is not None else (600, 800)

    def under_pointer(self) -> tuple[float, float] | None:
        """Row and column of the image under the mouse pointer."""
        layer = self.layer(IMAGE)
        if layer is None:
            return None
        y, x = layer.world_to_data(self.viewer.cursor.position[-2:])
        return float(y), float(x)

    # -- keys -----------------------------------------------------------------------------------

    def bind(self, keys: Mapping[str, Callable[[], None]]) -> None:
        """Bind keys on each of our layers: a viewer's own keys do not fire while a Labels layer is active."""
        old, self.keys = self.keys, dict(keys)
        for name in (IMAGE, OUTLINES, NUMBERS, EDIT):
            layer = self.layer(name)
            if layer is not None:
                for key in old:
                    layer.bind_key(key, None, overwrite=True)
                self._bind(layer)

    def _adopt(self, name: str, layer: Any) -> Any:
        """Remember a layer as ours, whatever the user may call it, and give it our keys."""
        self._made[name] = layer
        self._bind(layer)
        return layer

    def _bind(self, layer: Any) -> None:
        for key, slot in self.keys.items():
            layer.bind_key(key, _pressed(slot), overwrite=True)

    def hide_others(self) -> None:
        """Other layers would cover the image; they stay in the list."""
        ours = [self.layer(name) for name in (IMAGE, OUTLINES, EDIT, NUMBERS)]
        for layer in self.viewer.layers:
            if not any(layer == one for one in ours if one is not None):
                layer.visible = False

    def clear(self) -> None:
        """Take our layers away."""
        for name in (EDIT, NUMBERS, OUTLINES, IMAGE):
            layer = self.layer(name)
            if layer is not None:
                self.viewer.layers.remove(layer)


def _pressed(slot: Callable[[], None]) -> Callable[[Any], None]:
    return lambda layer: slot()


def _place(layer: Any, place: dict[str, Any]) -> None:
    """Scale and unit, where they change: each setting makes napari lay out the whole scene."""
    if tuple(layer.scale) != tuple(place["scale"]):
        layer.scale = place["scale"]
    if tuple(str(u) for u in layer.units) != tuple(str(u) for u in place["units"]):
        layer.units = place["units"]
