"""One segmented picture, as every writer, table and report gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from organoseg.core import DataError, Image, Instances


@dataclass(frozen=True, eq=False)
class Result:
    """A picture and its organoids.

    Attributes
    ----------
    key
        Names the picture within a run: a relative posix path, from which the names of its files are made.
    image
        The plane that was segmented, (H, W), at its original scale; its pixel size in µm, or None.
    instances
        In the pixels of ``image``. Their ids are the numbers that table, overlay, ROIs, labels and report show.
    classes
        Names of the classes.
    fields
        What is known of the picture's place: plate, well, site, time, channel, z, series.
    warnings
        Sentences that a person should read beside its figures.
    """

    key: str
    image: Image
    instances: Instances
    classes: Mapping[int, str]
    fields: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image.axes != "YX":
            raise DataError(
                f"A result is of one plane, not of axes {self.image.axes}", where=self.key
            )
        if self.instances.shape != self.image.shape:
            raise DataError(
                f"Organoids of {self.instances.shape} in an image of {self.image.shape}",
                where=self.key,
            )
