"""What the Segment widget does away from the window: load the model, segment plane after plane. No Qt."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import Instances

from .conversion import as_image


@dataclass(frozen=True)
class Order:
    """What to segment and how. ``threshold`` None: as the model says."""

    planes: Sequence[Any]
    name: str
    model: Path
    pixel_size: tuple[float, float] | None = None
    threshold: float | None = None
    thorough: bool = False


@dataclass
class Loaded:
    """The model that was used last; loading it again takes a second."""

    key: tuple[Path, bool, float] | None = None
    model: Any = None

    def get(self, folder: Path, thorough: bool) -> Any:
        """The model of ``folder``, loaded anew when it or its file changed."""
        import organoseg

        description = folder / "model.yaml"
        changed = description.stat().st_mtime if description.exists() else 0.0
        key = (folder, thorough, changed)
        if self.key != key:
            self.model = organoseg.load_model(folder, thorough=thorough)
            self.key = key
        return self.model


@dataclass(frozen=True, eq=False)
class Outcome:
    """The organoids of each plane, what the user should know of them, and why it came to nothing."""

    found: list[Instances]
    remarks: list[str] = field(default_factory=list)
    error: Exception | None = None


def segment(order: Order, loaded: Loaded) -> Generator[int, None, Outcome]:
    """Segment the planes; yields how many are done, which is where it can be stopped.

    torch is loaded here and nowhere before. Errors come back as a value: napari 0.9 stumbles over those that a
    worker with a progress bar throws.
    """
    try:
        return (yield from _segment(order, loaded))
    except Exception as error:  # noqa: BLE001 (the widget tells the user)
        return Outcome([], error=error)


def _segment(order: Order, loaded: Loaded) -> Generator[int, None, Outcome]:
    model = loaded.get(order.model, order.thorough)
    yield 0
    found: list[Instances] = []
    remarks: list[str] = []
    for number, plane in enumerate(order.planes, start=1):
        several = len(order.planes) > 1
        name = f"{order.name} (plane {number})" if several else order.name
        image = as_image(plane, order.pixel_size, name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append(model.segment(image, order.threshold))
        remarks += [str(w.message) for w in caught if w.category.__name__ == "CappedResultWarning"]
        yield number
    return Outcome(found, remarks)
