"""Microscopes' own files (CZI, ND2, LIF) in, through bioio, which is imported when such a file is opened."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import DataError, Image, MissingPartError
from organoseg.core.closing import Closing
from organoseg.core.image import AXES
from organoseg.io.damage import decoding
from organoseg.io.grey import grey, supported

#: Ending of a file: the module of its reader, and the extra that installs it.
READERS: Mapping[str, tuple[str, str]] = {
    ".czi": ("bioio_czi", "czi"),
    ".nd2": ("bioio_nd2", "nd2"),
    ".lif": ("bioio_lif", "lif"),
}
#: A plane is decoded by the thread that asks for it, also on a worker of a cluster whose scheduler dask would take.
_HERE = "synchronous"


class VendorFile(Closing):
    """An open file, of which one scene (a position, a well, an image of a project) is seen at a time.

    ``scenes``: their names; ``axes``: letters of TCZYX; ``shape``: their lengths; ``pixel_size``: (y, x) in µm or
    None; ``channels``: names. The last four are of the scene that was chosen last, at first the first.

    DataError naming the file when it is damaged; MissingPartError when its reader is not installed.
    """

    def __init__(self, path: Path) -> None:
        module, extra = READERS[path.suffix.lower()]
        self.path = path
        with decoding(path, extra.upper()):
            self._reader = _reader_class(module, extra, path)(str(path))
            self.scenes = tuple(str(name) for name in self._reader.scenes)
            if not self.scenes:
                raise DataError("The file holds no image", where=path)
            hidden = _scenes_of_czi(path) - len(self.scenes) if extra == "czi" else 0
            if hidden > 0:
                raise DataError(
                    f"The file holds {hidden} images more than its metadata tell of",
                    where=path,
                    remedy="Export each as a file of its own",
                )
        self.choose(0)

    def choose(self, scene: int) -> None:
        """Look at the scene of this number from now on."""
        with decoding(self.path, self.path.suffix[1:].upper()):
            self._reader.set_scene(scene)
            self._letters = str(self._reader.dims.order)
            lengths = dict(zip(self._letters, map(int, self._reader.shape), strict=True))
            odd = {a: n for a, n in lengths.items() if a not in (*AXES, "S") and n > 1}
            if odd:
                what = ", ".join(f"{n} along {a}" for a, n in odd.items())
                raise DataError(
                    f"The image is in parts that are not joined ({what})",
                    where=self.path,
                    remedy="Stitch it in the microscope's software, or export it as OME-TIFF",
                )
            kept = [a for a in AXES if a in lengths and (a in "YX" or lengths[a] > 1)]
            self.axes = "".join(kept)
            self.shape = tuple(lengths[a] for a in kept)
            self.pixel_size = _pixel_size(self._reader.physical_pixel_sizes)
            self.channels = tuple(str(name) for name in self._reader.channel_names or ())

    def plane(self, index: tuple[int, ...]) -> NDArray[Any]:
        """The plane (height, width) at ``index`` along the axes before Y and X; only it is read."""
        at = dict(zip(self.axes, index, strict=False))
        letters = "YXS" if "S" in self._letters else "YX"
        with decoding(self.path, self.path.suffix[1:].upper()):
            pixels = np.asarray(
                self._reader.get_image_dask_data(letters, **at).compute(scheduler=_HERE)
            )
            return supported(grey(pixels) if letters == "YXS" else pixels, self.path)

    def close(self) -> None:
        """Let the file go."""
        # Readers of bioio open the file for each plane and hold nothing but numbers in between.
        self._reader = None


class VendorReader:
    """Reads the one image of a CZI, ND2 or LIF file; a file of several scenes is refused, never cut to the first."""

    suffixes = tuple(READERS)

    def read(self, path: Path) -> Image:
        """The image; see `VendorFile` for what is raised."""
        with VendorFile(path) as file:
            refuse_scenes(file)
            leading = file.shape[:-2]
            planes = [file.plane(index) for index in np.ndindex(*leading)]
            pixels = np.stack(planes).reshape(file.shape) if leading else planes[0]
            return Image(pixels, file.axes, file.pixel_size, path.name)


def refuse_scenes(file: VendorFile) -> None:
    """DataError where the file holds several images and one is wanted."""
    if len(file.scenes) > 1:
        raise DataError(
            f"The file holds {len(file.scenes)} images ({', '.join(file.scenes[:5])}), one is expected",
            where=file.path,
            remedy="Export each as a file of its own; `organoseg predict` takes all of them",
        )


def _reader_class(module: str, extra: str, path: Path) -> Any:
    try:
        return importlib.import_module(module).Reader
    except ImportError as error:
        raise MissingPartError(
            f"A {extra.upper()} file needs the package {module.replace('_', '-')}",
            where=path,
            remedy=f"pip install 'organoseg[{extra}]'",
        ) from error


def _scenes_of_czi(path: Path) -> int:
    """How many scenes there are pixels of: metadata that name fewer would make the others vanish without a word."""
    from aicspylibczi import CziFile

    found = set()
    for part in CziFile(path).get_dims_shape():
        first, last = part.get("S", (0, 1))
        found |= set(range(first, last))
    return len(found)


def _pixel_size(sizes: Any) -> tuple[float, float] | None:
    y, x = sizes.Y, sizes.X
    return (float(y), float(x)) if y and x and 0 < y < 1e6 and 0 < x < 1e6 else None
