"""A small set to try everything on: labelled images, test images, and a plate that nobody labelled, all drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from organoseg.core import UsageError
from organoseg.core.folders import atomic_folder
from organoseg.dataset.labelled import LabelledImage
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.io.instances_json import write_instances

#: µm per px, so that measurements in µm can be tried.
PIXEL_SIZE = 0.65
ROWS = "ABCDEFGH"
COLUMNS = 12
#: Each part draws from seeds of its own, so that no image is in two parts.
_PARTS = {"labelled": 1, "test": 2, "plate": 3}


@dataclass(frozen=True)
class ExampleSize:
    """How many images each part has; `wells` have two sites each, at most 96 of them."""

    labelled: int = 10
    test: int = 10
    wells: int = 24

    def __post_init__(self) -> None:
        if min(self.labelled, self.test, self.wells) < 1 or self.wells > len(ROWS) * COLUMNS:
            raise UsageError(
                f"An example needs an image in each part and at most {len(ROWS) * COLUMNS} wells"
            )


def write_example(out: Path, size: ExampleSize | None = None, seed: int = 0) -> ExampleSize:
    """Write the set to the new folder `out`; the same seed and size give the same pixels.

    ``labelled/`` with ``labels.json``, ``test/`` with ``test.json``, and ``plate/`` with images such as
    ``plate1_B03_s2.tif``.

    Raises
    ------
    UsageError
        There is something at `out`.
    RunError
        It cannot be written.
    """
    size = size or ExampleSize()
    if out.exists():
        raise UsageError(
            "There is something there already", where=out, remedy="Give the name of a new folder."
        )
    with atomic_folder(out) as folder:
        for part, count, labels in (
            ("labelled", size.labelled, "labels.json"),
            ("test", size.test, "test.json"),
        ):
            items = [_draw(seed, part, k, f"{part}_{k:02d}.tif") for k in range(count)]
            _write(folder / part, items)
            write_instances(folder / labels, [(item.name, item.instances) for item in items])
        _write(folder / "plate", _plate(seed, size.wells))
    return size


def _plate(seed: int, wells: int) -> Iterator[LabelledImage]:
    """Wells column by column, two sites each."""
    for k in range(2 * wells):
        row, column = (k // 2) % len(ROWS), (k // 2) // len(ROWS)
        well = f"{ROWS[row]}{column + 1:02d}"
        yield _draw(seed, "plate", k, f"plate1_{well}_s{k % 2 + 1}.tif")


def _draw(seed: int, part: str, number: int, name: str) -> LabelledImage:
    return make_image((seed, _PARTS[part], number), SyntheticSpec(), name=name)


def _write(folder: Path, items: list[LabelledImage] | Iterator[LabelledImage]) -> None:
    import tifffile

    folder.mkdir()
    options: dict[str, Any] = {
        "resolution": (1 / PIXEL_SIZE, 1 / PIXEL_SIZE),
        "metadata": {"unit": "um"},
    }
    for item in items:
        # The whole folder appears at once, so a file need not.
        tifffile.imwrite(folder / item.name, item.image.plane(), imagej=True, **options)
