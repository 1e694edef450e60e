"""A review in memory, for tests of the view alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from organoseg.core import Image, Mask, UsageError
from organoseg_napari.desk import Item, Place


def disc(y: float, x: float, radius: float, shape: tuple[int, int] = (200, 240)) -> Mask:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = Mask.from_bits((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)
    assert mask is not None
    return mask


class FakeDesk:
    """Images of three organoids, of which the first two overlap."""

    def __init__(self, images: int = 2, shape: tuple[int, int] = (200, 240)) -> None:
        rng = np.random.default_rng(0)
        self.read_only = ""
        self.images = [
            Image(rng.integers(0, 255, shape, dtype=np.uint8), name=f"{n}.tif")
            for n in range(images)
        ]
        first = [disc(60, 60, 25, shape), disc(60, 95, 25, shape), disc(150, 180, 12, shape)]
        self.all = [
            {n: Item(n, m, "open", 0.9 - n / 10, 1, "low score") for n, m in enumerate(first, 1)}
            for _ in range(images)
        ]
        self.at, self.number = 0, 1
        self.done: list[tuple[str, object]] = []
        self.undone: list[tuple[str, object]] = []
        self.calls: list[str] = []
        self.finished: set[int] = set()
        self.closed = False

    def image(self) -> Image:
        return self.images[self.at]

    def organoids(self) -> dict[int, Item]:
        return dict(self.all[self.at])

    def current(self) -> int | None:
        return self.number

    def place(self) -> Place:
        items = self.all[self.at].values()
        open_ = sum(i.state == "open" for i in items)
        waiting = sum(i.state == "open" for part in self.all for i in part.values())
        name, total = self.image().name, len(items)
        done = self.at in self.finished
        return Place(self.at + 1, len(self.images), name, total - open_, total, waiting, done)

    def classes(self) -> dict[int, str]:
        return {1: "organoid", 2: "cyst"}

    def _change(self, word: str, change: Callable[[dict[int, Item]], None]) -> None:
        if self.read_only:
            raise UsageError(self.read_only)
        self.calls.append(word)
        before = (self.at, self.number, dict(self.all[self.at]))
        change(self.all[self.at])
        self.done.append((word, before))
        self.undone.clear()

    def _judge(self, state: str) -> None:
        number = self.number
        assert number is not None
        self._change(state, lambda d: d.update({number: d[number]._replace(state=state)}))
        self.next()

    def accept(self) -> None:
        self._judge("accepted")

    def reject(self) -> None:
        self._judge("rejected")

    def next(self) -> None:
        waiting = [n for n, i in self.all[self.at].items() if i.state == "open"]
        later = [n for n in waiting if self.number is not None and n > self.number]
        if not waiting and self.at + 1 < len(self.images):
            self.open_image(1)
            return
        self.number = (later or waiting or [None])[0]

    def previous(self) -> None:
        before = [n for n in self.all[self.at] if self.number is None or n < self.number]
        self.number = before[-1] if before else self.number

    def jump(self, number: int) -> None:
        self.number = number

    def open_image(self, step: int) -> None:
        self.at = min(max(self.at + step, 0), len(self.images) - 1)
        self.number = next(iter(self.all[self.at]), None)

    def draw(self, mask: Mask) -> int:
        number = max(self.all[self.at], default=0) + 1
        self._change("draw", lambda d: d.update({number: Item(number, mask, "drawn", 1.0, 1, "")}))
        self.number = number
        return number

    def replace(self, number: int, mask: Mask) -> None:
        self._change("replace", lambda d: d.update({number: d[number]._replace(mask=mask)}))

    def split(self, number: int, masks: list[Mask]) -> None:
        top = max(self.all[self.at]) + 1
        new = {top + k: Item(top + k, m, "drawn", 1.0, 1, "") for k, m in enumerate(masks)}

        def change(d: dict[int, Item]) -> None:
            del d[number]
            d.update(new)

        self._change("split", change)
        self.number = top

    def merge(self, number: int, other: int) -> None:
        def change(d: dict[int, Item]) -> None:
            both = np.zeros(self.image().shape, bool)
            for n in (number, other):
                y0, x0, y1, x1 = d[n].mask.box
                both[y0:y1, x0:x1] |= d[n].mask.bits
            mask = Mask.from_bits(both)
            assert mask is not None
            d[number] = d[number]._replace(mask=mask)
            del d[other]

        self._change("merge", change)

    def delete(self, number: int) -> None:
        self._change("delete", lambda d: d.__delitem__(number))
        self.next()

    def set_class(self, number: int, kind: int) -> None:
        self._change("class", lambda d: d.update({number: d[number]._replace(kind=kind)}))

    def complete(self) -> None:
        self.calls.append("complete")
        self.finished.add(self.at)

    def undo(self) -> str | None:
        return self._swap(self.done, self.undone)

    def redo(self) -> str | None:
        return self._swap(self.undone, self.done)

    def _swap(self, source: list, target: list) -> str | None:
        if not source:
            return None
        word, (at, number, items) = source.pop()
        target.append((word, (self.at, self.number, dict(self.all[at]))))
        self.at, self.number, self.all[at] = at, number, items
        return word

    def close(self) -> None:
        self.closed = True
