"""What the parts of a run work with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from organoseg.core import DataError
from organoseg.distill.crew import Alone
from organoseg.training.ahead import Workers
from organoseg.training.data import RunData
from organoseg.training.recipe import Recipe
from organoseg.training.state import State
from organoseg.training.unlabelled import Unlabelled


@dataclass(frozen=True, eq=False)
class Setting:
    """A run's recipe, data, folder and state, and those that work on it.

    Parameters
    ----------
    autocast
        What networks train in.
    note
        Takes sentences worth keeping in the run's record.
    progress
        Called with images done and images in all while a part of the archive is labelled.
    crew, workers, stopping
        The processes of the run, who makes batches, and whether the run was told to stop.
    """

    recipe: Recipe
    data: RunData
    out: Path
    state: State
    autocast: Callable[[], Any] = nullcontext
    note: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, images: None
    crew: Any = field(default_factory=Alone)
    workers: Workers | None = None
    stopping: Callable[[], bool] = lambda: False

    @property
    def source(self) -> Unlabelled:
        """The unlabelled images. DataError where there are none."""
        if self.data.unlabelled is None:
            raise DataError("this recipe has no unlabelled images", remedy="Give data.unlabelled.")
        return self.data.unlabelled
