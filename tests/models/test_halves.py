"""What does not fit the memory at once is looked at in smaller lots."""

import pytest
import torch

from organoseg.core import RunError
from organoseg.models.halves import in_halves


@pytest.mark.parametrize(("count", "room"), [(16, 16), (16, 5), (7, 2), (3, 1), (0, 4)])
def test_every_image_is_looked_at_once_in_order(count: int, room: int) -> None:
    images = list(range(count))

    def act(some: slice) -> list[int]:
        if len(images[some]) > room:
            raise torch.OutOfMemoryError("full")
        return [10 * i for i in images[some]]

    assert in_halves(act, count) == [10 * i for i in images]


def test_one_image_that_does_not_fit_says_what_helps() -> None:
    def act(some: slice) -> list[int]:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(RunError, match="a single image") as told:
        in_halves(act, 4)
    assert "smaller" in str(told.value)
