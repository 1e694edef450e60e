"""Label images out: one rendering of Instances as a TIFF that ImageJ, napari and QuPath open."""

import os
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, atomic_write
from organoseg.core.instances import Rule


class HiddenOrganoidsWarning(UserWarning):
    """A label image lacks organoids that lie wholly under others."""


def write_labels(
    path: str | os.PathLike[str],
    instances: Instances,
    pixel_size: tuple[float, float] | None = None,
    rule: Rule = "score",
) -> None:
    """Write ids as a label TIFF (H, W), atomically: uint16, or uint32 when an id is above 65535.

    pixel_size: (y, x) in µm, kept where ImageJ reads it. rule: who gets a pixel that several
    organoids cover, as in `Instances.render`. A label image cannot hold overlaps; an organoid that
    disappears wholly under others is named in a warning.
    """
    labels = instances.render(rule)
    hidden = hidden_in(instances, labels)
    if hidden:
        warnings.warn(
            f"{os.fspath(path)}: {len(hidden)} organoids lie wholly under others and are missing "
            f"from the label image: ids {', '.join(map(str, hidden[:10]))}",
            HiddenOrganoidsWarning,
            stacklevel=2,
        )
    wide = bool(len(instances)) and int(instances.ids.max()) > np.iinfo(np.uint16).max
    write_label_image(path, labels, pixel_size, wide)


def write_label_image(
    path: str | os.PathLike[str],
    labels: NDArray[Any],
    pixel_size: tuple[float, float] | None = None,
    wide: bool = False,
) -> None:
    """Write a label image (H, W) or one of every frame (T, H, W), atomically: uint16, or uint32 where it is wide.

    pixel_size: (y, x) in µm, kept where ImageJ reads it.
    """
    import tifffile

    options: dict[str, Any] = {}
    if pixel_size is not None:
        # Pixels per cm for wide labels, which ImageJ's own TIFF variant cannot hold; else per µm.
        unit = 1e4 if wide else 1.0
        options["resolution"] = (unit / pixel_size[1], unit / pixel_size[0])
        if wide:
            options["resolutionunit"] = "CENTIMETER"
    if not wide:
        meta = {"axes": "TYX"[-labels.ndim :], **({"unit": "um"} if pixel_size is not None else {})}
        options.update(imagej=True, metadata=meta)
    with atomic_write(path) as handle:
        pixels = labels.astype(np.uint32 if wide else np.uint16, copy=False)
        tifffile.imwrite(handle, pixels, compression="zlib", **options)


def hidden_in(instances: Instances, labels: NDArray[np.uint32]) -> list[int]:
    """Ids of the organoids without a pixel of their own in their rendering `labels` (H, W)."""
    ids = []
    for mask, number in zip(instances, instances.ids.tolist(), strict=True):
        y0, x0, y1, x1 = mask.box
        if not (labels[y0:y1, x0:x1][mask.bits] == number).any():
            ids.append(number)
    return ids
