"""The processes of one run, started by `torchrun`, through accelerate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from organoseg.core import RunError
from organoseg.distill.crew import Alone

T = TypeVar("T")


class Processes:
    """Several processes that do every step together; see `organoseg.distill.crew.Crew`.

    ``rank`` counts them from 0; ``main`` is the one that writes.

    Raises
    ------
    RunError
        From every method: another process has ended, so nothing can be done together any more.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.rank, self.size = accelerator.process_index, accelerator.num_processes
        self.main = accelerator.is_main_process

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes; all get the same bits."""
        found: Tensor = self._together(lambda: self._accelerator.reduce(values, reduction="sum"))
        return found

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of them."""
        mine = torch.tensor([float(flag)], device=self._accelerator.device)
        return bool(self.sum(mine) > 0)

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, by rank."""
        from accelerate.utils import gather_object

        found: list[Any] = self._together(lambda: gather_object(items))
        return found

    def wait(self) -> None:
        """Until all are here."""
        self._together(self._accelerator.wait_for_everyone)

    def _together(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RunError(
                f"process {self.rank} of {self.size} lost the others: one of them has ended",
                remedy="See its own message above or in its log; then go on with --resume.",
            ) from error


def crew_of(accelerator: Any) -> Any:
    """The crew of a run: several processes where torchrun started several, or one alone."""
    return Processes(accelerator) if accelerator.num_processes > 1 else Alone()
