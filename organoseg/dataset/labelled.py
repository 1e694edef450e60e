"""Labelled images: an Image with the organoids a person (or a simulation) outlined on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from organoseg.core import DataError, Image, Instances


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image and its organoids; DataError when their sizes differ or a pixel is not finite.

    ignored: regions where nobody looked, as Instances of the image's size: neither organoid nor background is taught
    there. None where the whole image is known.
    """

    image: Image
    instances: Instances
    ignored: Instances | None = None

    def __post_init__(self) -> None:
        if self.ignored is not None and self.ignored.shape != self.instances.shape:
            raise DataError(
                "The regions to ignore are not of the image's size", where=self.image.name or None
            )
        if self.image.shape != self.instances.shape:
            raise DataError(
                f"The image is {_size(self.image.shape)} but its masks are "
                f"{_size(self.instances.shape)} (height x width)",
                where=self.image.name or "image without a name",
                remedy="Give the image that was outlined, not a scaled or cropped copy of it.",
            )
        if self.image.pixels.dtype.kind == "f" and not np.isfinite(self.image.pixels).all():
            raise DataError(
                "The image holds NaN or infinite pixels",
                where=self.image.name or "image without a name",
                remedy="Export it again from the microscope's software.",
            )

    @property
    def name(self) -> str:
        """The file name by which the image is matched."""
        return self.image.name

    def judged(self, predicted: Instances) -> Instances:
        """Those predictions that the labels can judge: the ones that lie by half or more where somebody looked."""
        if self.ignored is None or not len(self.ignored) or not len(predicted):
            return predicted
        # Regions may overlap, so their union is what counts.
        unknown = np.asarray(self.ignored.to_dense().any(axis=0))
        inside = [unknown[m.box[0] : m.box[2], m.box[1] : m.box[3]][m.bits] for m in predicted]
        return predicted.select(np.array([part.mean() for part in inside]) <= 0.5)


@dataclass(frozen=True, eq=False)
class LabelledDataset:
    """Labelled images with unique names, and the names of their classes by category id.

    Raises DataError when there is no image, or when two have the same name.
    """

    items: tuple[LabelledImage, ...]
    classes: Mapping[int, str] = field(default_factory=lambda: {1: "organoid"})

    def __post_init__(self) -> None:
        if not self.items:
            raise DataError(
                "The labelled set is empty",
                remedy="Give at least one image with its masks.",
            )
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise DataError(
                f"{len(repeated)} names belong to several labelled images, for example "
                f"{', '.join(repeated[:5])}",
                remedy="Give each image its own name, for example with its folder in front.",
            )

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.items)

    def __getitem__(self, index: int) -> LabelledImage:
        return self.items[index]

    @property
    def names(self) -> tuple[str, ...]:
        """The file names, in order."""
        return tuple(item.name for item in self.items)

    @property
    def mean_count(self) -> float:
        """Organoids per image."""
        return sum(len(item.instances) for item in self.items) / len(self.items)

    def select(self, names: Iterable[str]) -> LabelledDataset:
        """The images of these names, in this order; DataError for a name that is not there."""
        by_name = {item.name: item for item in self.items}
        wanted = list(names)
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise DataError(
                f"{len(missing)} names are not in the labelled set, for example "
                f"{', '.join(missing[:5])}",
                remedy="Check their spelling, and that the split was made for this set.",
            )
        return LabelledDataset(tuple(by_name[name] for name in wanted), self.classes)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"
