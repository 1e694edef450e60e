"""A Labels layer that can be painted: napari cannot paint on several levels, and loses what is painted on dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from organoseg.core import DataError

from . import messages

if TYPE_CHECKING:
    import napari

#: What a copy may need of memory.
MOST_BYTES = 8 << 30


def why_not(layer: Any) -> str | None:
    """Why painting on a Labels layer would not last; None where it does."""
    if layer.multiscale:
        return "has several levels, and napari can paint on none of them"
    kind = type(layer.data).__module__.split(".")[0]
    if kind == "dask":
        return "is read lazily (dask): what is painted is shown, but never stored"
    if kind != "numpy":
        return f"is a store on disk ({kind}): each stroke would change it at once"
    return None if layer.data.flags.writeable else "cannot be written to"


def make_paintable(layer: napari.layers.Labels) -> list[napari.types.LayerDataTuple] | None:
    """A copy of a Labels layer in memory, which can be painted; the original is hidden, not changed.

    Raises DataError when the copy would not fit into 8 GiB.
    """
    reason = why_not(layer)
    if reason is None:
        messages.info(f"{layer.name} can be painted as it is.")
        return None
    source = layer.data[0] if layer.multiscale else layer.data
    if int(np.prod(source.shape)) * np.dtype(source.dtype).itemsize > MOST_BYTES:
        raise DataError(
            f"The copy would need more than {MOST_BYTES >> 30} GiB",
            where=layer.name,
            remedy="Cut out the part that you want to paint",
        )
    data = np.array(source)
    layer.visible = False
    messages.info(f"{layer.name} {reason}. Here is a copy; save it when you are done.")
    state = {
        "name": f"{layer.name} (copy)",
        "scale": tuple(layer.scale),
        "translate": tuple(layer.translate),
        "units": layer.units,
        "features": layer.features,
        "metadata": dict(layer.metadata),
    }
    return [(data, state, "labels")]
