"""Where the camera looks: the whole picture, or one organoid of it, and never past the picture's border. No Qt.

Lengths are of the world (scaled data), (y, x); zoom is screen pixels a unit of length; a picture begins at (0, 0).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Of the window that stays free around a whole picture.
MARGIN = 0.05
#: An organoid is judged well while it takes between these parts of the window; else it is brought to the one between.
_SMALL, _GOOD, _LARGE = 0.08, 0.25, 0.8
#: So much of the window is away from its middle at most what is still in view.
_IN_VIEW = 0.45

Pair = tuple[float, float]


class Frame(NamedTuple):
    """What a camera looks at. centre: (y, x)."""

    centre: Pair
    zoom: float


def whole(picture: Pair, window: Pair) -> Frame:
    """All of a picture, as large as the window lets it."""
    zoom = (1 - MARGIN) * min(window[0] / picture[0], window[1] / picture[1])
    return Frame((picture[0] / 2, picture[1] / 2), zoom)


def on(
    box: tuple[float, float, float, float], picture: Pair, window: Pair, now: Frame, most: float
) -> Frame:
    """An organoid in the box (y0, x0, y1, x1): what is in view already where it can be judged there.

    most: the largest zoom that is of use.
    """
    y0, x0, y1, x1 = box
    size, zoom = max(y1 - y0, x1 - x0), now.zoom
    low, fitting = min(window), whole(picture, window).zoom
    if not _SMALL * low < size * zoom < _LARGE * low:
        zoom = min(_GOOD * low / size, most)
    zoom = max(zoom, min(fitting, most))
    middle = (y0 + y1) / 2, (x0 + x1) / 2
    away = np.abs(np.subtract(middle, now.centre)) * zoom + size * zoom / 2
    centre = middle if (away > _IN_VIEW * np.asarray(window)).any() else now.centre
    inside = [_within(c, p, w / zoom) for c, p, w in zip(centre, picture, window, strict=True)]
    return Frame((inside[0], inside[1]), zoom)


def _within(centre: float, picture: float, seen: float) -> float:
    """The centre of a stretch ``seen`` that shows no more beside the picture than the margin."""
    low = seen / 2 - MARGIN * seen / 2
    return picture / 2 if 2 * low >= picture else min(max(centre, low), picture - low)
