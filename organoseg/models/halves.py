"""A look at several images, in smaller lots where the memory of a GPU does not hold them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from organoseg.core import RunError

T = TypeVar("T")


def in_halves(act: Callable[[slice], list[T]], count: int) -> list[T]:
    """What ``act`` gives for ``count`` images, asked for all at once, or for half as many until they fit.

    Parameters
    ----------
    act
        Takes which images, and gives a result each.

    Raises
    ------
    RunError
        One image is more than the memory holds.
    """
    size = max(count, 1)
    while True:
        try:
            return [
                one for start in range(0, count, size) for one in act(slice(start, start + size))
            ]
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise RunError(
                    "the memory of the GPU does not hold a look at a single image",
                    where="recipe, model.options",
                    remedy="Take a smaller backbone or a smaller upscale, or close what else uses the GPU; "
                    "then go on with --resume.",
                ) from error
        # Outside the handler: the error's traceback would keep what did not fit.
        size = -(-size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
