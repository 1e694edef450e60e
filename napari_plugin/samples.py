"""File > Open Sample: synthetic organoids, for trying everything without images of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from .conversion import LayerData, labels_layer

SEED = 5
#: Pixel size of the samples in µm: that of a 4x objective, so that the scale bar says something likely.
PIXEL = (1.6, 1.6)
_UNITS = ("micrometer", "micrometer")


def _spec(size: int = 512):  # type: ignore[no-untyped-def]
    from organoseg.dataset.synthetic import SyntheticSpec

    return SyntheticSpec(size=size, count=(16, 22), radius=(10.0, 44.0), overlap=0.3)


def organoids() -> list[LayerData]:
    """One brightfield image of synthetic organoids, some over others."""
    from organoseg.dataset.synthetic import make_image

    image = make_image(SEED, _spec()).image
    state = {"name": "synthetic organoids", "scale": PIXEL, "units": _UNITS}
    return [(np.array(image.pixels), state, "image")]


def outlined_organoids() -> list[LayerData]:
    """The same with the true outline of each organoid."""
    from organoseg.dataset.synthetic import make_image

    drawn = make_image(SEED, _spec())
    spatial: dict[str, Any] = {"scale": PIXEL, "units": _UNITS}
    truth = labels_layer(
        [drawn.instances], "synthetic organoids (truth)", names=(drawn.image.name,), **spatial
    )
    image = (np.array(drawn.image.pixels), {"name": "synthetic organoids", **spatial}, "image")
    return [image, truth]


def time_lapse() -> list[LayerData]:
    """Five images as a stack: for segmenting a whole time-lapse or focus series."""
    from organoseg.dataset.synthetic import iter_images

    stack = np.stack([drawn.image.pixels for drawn in iter_images(SEED, 5, _spec(256))])
    state = {
        "name": "synthetic time-lapse",
        "scale": (1.0, *PIXEL),
        "units": ("pixel", *_UNITS),
        "axis_labels": ("t", "y", "x"),
    }
    return [(stack, state, "image")]
