"""Checks and conversions of the fields of Instances."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from organoseg.core.errors import DataError
from organoseg.core.mask import Mask

# Labels up to this one are used as they are.
_DIRECT = 1 << 20


def checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    """(H, W) as plain whole numbers; DataError when it is not one of a real image."""
    if len(shape) != 2 or any(int(size) != size or size < 1 for size in shape):
        raise DataError(f"{tuple(shape)} is not the (height, width) of an image")
    return int(shape[0]), int(shape[1])


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view of an array."""
    view = array.view()
    view.flags.writeable = False
    return view


def column(values: ArrayLike, dtype: DTypeLike, name: str) -> NDArray[Any]:
    """`values` as a read-only array (N,) of `dtype`; DataError when they do not fit it."""
    try:
        raw = np.asarray(values)
        made = raw.astype(dtype) if raw.dtype != dtype else raw
        exact = made.dtype.kind == "f" or raw.size == 0 or bool((made == raw).all())
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"The {name} of organoids are not numbers") from error
    if made.ndim != 1:
        raise DataError(f"The {name} of organoids are not a flat list")
    if not exact:
        raise DataError(f"The {name} of organoids do not fit {made.dtype}")
    return frozen(made)


def kept(values: Any, masks: Sequence[Mask | None], name: str) -> Any:
    """The entries of `values` whose mask is there; DataError when the lengths differ."""
    if len(values) != len(masks):
        raise DataError(f"{len(masks)} masks but {len(values)} {name}")
    if all(mask is not None for mask in masks):
        return values
    return [value for value, mask in zip(values, masks, strict=True) if mask is not None]


def label_masks(labels: NDArray[Any]) -> tuple[NDArray[np.int64], list[Mask]]:
    """Ids (N,), rising, and masks of a label image (H, W); 0 is background.

    DataError on another shape, negative or fractional labels.
    """
    from scipy import ndimage

    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise DataError(
            f"A label image is (H, W) of whole numbers, not {labels.dtype} {labels.shape}"
        )
    if labels.size and labels.min() < 0:
        raise DataError("A label image has negative values")
    top = int(labels.max()) if labels.size else 0
    if top <= _DIRECT:
        ranks, values = labels.astype(np.int32), np.arange(top + 1)
    else:
        # Sparse large ids: number them from 0 first, as the box search allots a slot to each.
        values, inverse = np.unique(np.append(labels.reshape(-1), 0), return_inverse=True)
        ranks = inverse[:-1].astype(np.int32).reshape(labels.shape)
    ids, masks = [], []
    for rank, place in enumerate(ndimage.find_objects(ranks), start=1):
        if place is not None:
            ids.append(int(values[rank]))
            masks.append(Mask(place[0].start, place[1].start, ranks[place] == rank))
    return np.array(ids, np.int64), masks
