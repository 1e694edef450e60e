"""The labelled images that a benchmark measures on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from organoseg.core import DataError, file_hash
from organoseg.dataset import LabelledDataset, few_label_split, load_coco
from organoseg.io import read_instances
from organoseg.io.coco_json import CocoInstances, parse_coco_instances

SPLITS = "few_label_splits.json"


@dataclass(frozen=True)
class TestSet:
    """Which images of which COCO file."""

    __test__ = False  # pytest would take it for a test by its name

    annotations: Path
    images: Path
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """Short name of exactly these labels and images; results carry it in their file names."""
        text = "\n".join([file_hash(self.annotations), *self.names])
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def load(self) -> LabelledDataset:
        """The images with their labels."""
        return load_coco(self.annotations, self.images, self.names)

    def labels(self) -> CocoInstances:
        """The labels alone, with the first id of the file: `evaluate` reads AP as the file has it."""
        return parse_coco_instances(self.annotations, names=self.names)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "annotations": str(self.annotations),
            "images": str(self.images),
            "names": list(self.names),
            "key": self.key,
        }

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> TestSet:
        """Back from `to_dict`."""
        return TestSet(Path(tree["annotations"]), Path(tree["images"]), tuple(tree["names"]))


def choose_test_set(
    data: Path,
    annotations: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
    words: Sequence[str] = (),
) -> TestSet:
    """The test set of a data folder, or another one.

    `split` takes the names under that key of few_label_splits.json (of the `val` images unless
    told otherwise); `words` keeps file names that contain one of them. DataError when nothing is left.
    """
    side = "test" if split is None else "val"
    chosen = (annotations or data / f"instances_{side}.json").resolve()
    folder = (images or data / side).resolve()
    names = (
        sorted(read_instances(chosen)) if split is None else few_label_split(data / SPLITS, split)
    )
    kept = [name for name in names if not words or any(word in name for word in words)]
    if not kept:
        raise DataError("no image is left to test on", where=chosen)
    return TestSet(chosen, folder, tuple(sorted(kept)))
