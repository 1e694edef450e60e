"""What the canvas shows of a review, and what has to be drawn anew after an action."""

from __future__ import annotations

from organoseg.core import Image, Mask

from .contours import CODES, Outlined
from .desk import Desk, Item
from .review_layers import Canvas


class View:
    """The picture of a desk. items: the organoids as they were shown last; before: the mask of the one under review
    when it came under review, which is what an erased line is cut out of."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.reset()

    def reset(self) -> None:
        """Another review follows."""
        self.items: dict[int, Item] = {}
        self.shown: int | None = None
        self.before: Mask | None = None
        self._image: Image | None = None

    def refresh(self, desk: Desk, force: bool = False) -> Item | None:
        """Show the review as it is now, only what has changed; returns the organoid under review."""
        image, number = desk.image(), desk.current()
        old, self.items = self.items, desk.organoids()
        force = force or self._image is not image
        if self._image is not image:
            self._image, self.shown = image, number
            self.canvas.show(image, self._outlined(), self._masks())
        else:
            was, self.shown = self.shown, number
            self._draw_changes(old, {was, self.canvas.number, number})
        item = self.items.get(number) if number is not None else None
        fresh = self.canvas.number != number
        changed = item is not None and old.get(item.number) is not item
        if force or fresh or changed:
            self._edit(item, image.shape, fresh, force)
        return item

    def _edit(self, item: Item | None, shape: tuple[int, int], fresh: bool, force: bool) -> None:
        mask = item.mask if item is not None else None
        if fresh or force:
            self.canvas.edit(item.number if item is not None else None, mask, shape)
        else:
            self.canvas.refill(mask, shape)
        if fresh or self.before is None:
            self.before = mask
        if mask is not None and fresh:
            self.canvas.look_at(mask)
        elif mask is None:
            self.canvas.look_at_all()  # is there one that was missed, anywhere?

    def painted(self, desk: Desk, number: int) -> None:
        """A stroke was kept: the layer shows it already."""
        self.items, self.shown = desk.organoids(), number

    def draw(self, desk: Desk) -> None:
        """An empty layer to draw a new one in."""
        self.shown = self.before = None
        self.canvas.edit(None, None, desk.image().shape)
        self._draw_changes(self.items, set(self.items))

    def _outlined(self) -> dict[int, Outlined]:
        return {
            number: Outlined(item.mask, CODES.get(item.state, 1))
            for number, item in self.items.items()
            if number != self.shown
        }

    def _masks(self) -> dict[int, Mask]:
        return {number: item.mask for number, item in self.items.items()}

    def _draw_changes(self, old: dict[int, Item], always: set[int | None]) -> None:
        now = self.items
        changed = {n for n in old.keys() | now.keys() if old.get(n) is not now.get(n)}
        changed |= {n for n in always if n is not None}
        pairs = [(old.get(n), now.get(n)) for n in changed]
        outlined = self._outlined()
        # Far apart, two small windows are drawn faster than the one around both.
        for box in [item.mask.box for pair in pairs for item in pair if item is not None]:
            self.canvas.redraw(outlined, [box])
        if old.keys() != now.keys():
            self.canvas.number_all(self._masks())

    def under_pointer(self, but: int | None = None) -> int | None:
        """The organoid under the mouse pointer; of several the smallest, which is hard to point at otherwise."""
        place = self.canvas.under_pointer()
        if place is None:
            return None
        y, x = int(place[0] + 0.5), int(place[1] + 0.5)
        hits = []
        for number, item in self.items.items():
            y0, x0, y1, x1 = item.mask.box
            inside = y0 <= y < y1 and x0 <= x < x1 and item.mask.bits[y - y0, x - x0]
            if inside and number != but and item.state != "rejected":
                hits.append((item.mask.area, number))
        return min(hits)[1] if hits else None
