"""ImageJ ROI archives out: one outline an organoid, opened by ImageJ's and Fiji's ROI Manager."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Instances, Mask, atomic_write
from organoseg.core.outlines import Part, outlines

#: ImageJ keeps the corners of a ROI as signed 16-bit numbers.
LARGEST = 2**15 - 1
#: What java.awt.geom.PathIterator calls the steps of a line; ImageJ stores composite ROIs so.
MOVE, LINE, CLOSE = 0.0, 1.0, 4.0
# The time inside an archive: the same organoids give the same bytes.
_STAMP = (1980, 1, 1, 0, 0, 0)


def write_rois(
    path: str | os.PathLike[str],
    instances: Instances,
    classes: Mapping[int, str] | None = None,
    position: int = 0,
) -> None:
    """Write the organoids as an ImageJ ROI archive, atomically.

    ROIs are called by the organoid's number, as in the table and on the overlay. One without holes is a traced ROI,
    others are composite ones; both cover exactly the mask's pixels. position: slice of a stack, from 1; 0 for none.
    classes: names by class id, written as the ROI's property.

    DataError when the image is larger than ImageJ's coordinates.
    """
    if max(instances.shape) > LARGEST:
        raise DataError(
            f"ImageJ ROIs reach to pixel {LARGEST}, this image is {instances.shape}",
            where=os.fspath(path),
            remedy="Write GeoJSON instead.",
        )
    digits = len(str(int(instances.ids.max(initial=0))))
    with atomic_write(path) as handle, zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as bundle:
        for index, mask in enumerate(instances):
            name = f"{int(instances.ids[index]):0{max(digits, 4)}d}"
            props = _properties(instances, index, classes or {})
            roi = _roi(mask, name, position, props)
            bundle.writestr(zipfile.ZipInfo(f"{name}.roi", _STAMP), roi.tobytes())


def _properties(instances: Instances, index: int, classes: Mapping[int, str]) -> str:
    kind = int(instances.classes[index])
    score = float(instances.scores[index])
    # java.util.Properties: a name must not end the line.
    name = classes.get(kind, str(kind)).replace("\\", "\\\\").replace("\n", " ").replace("\r", " ")
    return f"score: {score:.4f}\nclass: {name}\n"


def _roi(mask: Mask, name: str, position: int, props: str) -> Any:
    import roifile

    parts = outlines(mask)
    top, left, bottom, right = mask.box
    common: dict[str, Any] = {
        "version": 228,
        "name": name,
        "top": top,
        "left": left,
        "bottom": bottom,
        "right": right,
        "position": position,
        "props": props,
    }
    if len(parts) == 1 and not parts[0].holes:
        corners = (parts[0].outer - [top, left])[:, ::-1].astype(np.int32)
        return roifile.ImagejRoi(
            roitype=roifile.ROI_TYPE.TRACED,
            n_coordinates=len(corners),
            integer_coordinates=corners,
            **common,
        )
    steps = _steps(parts)
    return roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT,
        shape_roi_size=len(steps),
        multi_coordinates=steps,
        **common,
    )


def _steps(parts: tuple[Part, ...]) -> NDArray[np.float32]:
    steps: list[float] = []
    for ring in (ring for part in parts for ring in (part.outer, *part.holes)):
        for corner, (y, x) in enumerate(ring.tolist()):
            steps += [LINE if corner else MOVE, x, y]
        steps.append(CLOSE)
    return np.array(steps, np.float32)
