"""The processes that share a step, as the methods see them."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Crew(Protocol):
    """The processes that share a step. All do the same steps and ask the same things in the same order."""

    size: int

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes; the tensor itself may be changed."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether it is so in one of them."""
        ...

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, by rank."""
        ...


class Alone:
    """A crew of one."""

    rank, size, main = 0, 1, True

    def sum(self, values: Tensor) -> Tensor:
        """The values."""
        return values

    def any(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def gather(self, items: list[Any]) -> list[Any]:
        """The items of all processes, by rank."""
        return items

    def wait(self) -> None:
        """Until all are here."""
