"""What each action changes in an image's state. Nothing is written here; wrong use is refused with words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from organoseg.core import Mask, UsageError
from organoseg.review.shapes import union
from organoseg.review.state import Change, ImageState, Organoid, Status, mask_record

Changes = tuple[Change, ...]


def organoid_of(state: ImageState, number: int | None) -> Organoid:
    """The organoid of that id; UsageError when there is none."""
    if number is None:
        raise UsageError("No organoid is chosen", remedy="Click on one, or press next.")
    found = state.organoids.get(number)
    if found is None:
        raise UsageError(f"Organoid {number} is not in this image", remedy="Choose one that is.")
    return found


def decide(state: ImageState, number: int | None, status: Status) -> Changes:
    """Accept or reject an organoid; nothing when that was decided already."""
    organoid = organoid_of(state, number)
    if organoid.status == status:
        return ()
    return (Change((organoid.id,), {"status": organoid.status}, {"status": status}),)


def accept_rest(state: ImageState) -> Changes:
    """Accept all that nobody has decided on."""
    if not state.unseen:
        return ()
    return (Change(state.unseen, {"status": "unseen"}, {"status": "accepted"}),)


def replace(state: ImageState, number: int | None, mask: Mask) -> Changes:
    """Another mask for an organoid, which is thereby accepted; nothing when mask and status stay as they are."""
    organoid = organoid_of(state, number)
    _check_inside(state, mask)
    same = organoid.mask.box == mask.box and bool((organoid.mask.bits == mask.bits).all())
    if same:
        return decide(state, number, "accepted")
    before = {
        "mask": mask_record(organoid.mask),
        "status": organoid.status,
        "edited": organoid.edited,
    }
    after = {"mask": mask_record(mask), "status": "accepted", "edited": True}
    return (Change((organoid.id,), before, after),)


def draw(state: ImageState, mask: Mask, category: int, source: str) -> Changes:
    """A new organoid made by a person."""
    _check_inside(state, mask)
    made = Organoid(state.first_free, mask, "accepted", category, 1.0, source, edited=True)
    return (Change((made.id,), None, made.record()),)


def split(state: ImageState, number: int | None, parts: Sequence[Mask], source: str) -> Changes:
    """An organoid in two or more parts, which may overlap; they inherit its class and score."""
    organoid = organoid_of(state, number)
    if len(parts) < 2:
        raise UsageError(
            "The organoid was not parted",
            remedy="Draw the cut right across it, from outside to outside.",
        )
    for part in parts:
        _check_inside(state, part)
    made = [
        _child(state.first_free + i, part, organoid, (organoid.id,), source)
        for i, part in enumerate(parts)
    ]
    return (_removed(organoid), *(Change((o.id,), None, o.record()) for o in made))


def merge(state: ImageState, numbers: Sequence[int], source: str) -> Changes:
    """Several organoids into one of all their pixels; it inherits from the best of them."""
    chosen = [organoid_of(state, n) for n in dict.fromkeys(numbers)]
    if len(chosen) < 2:
        raise UsageError("One organoid alone cannot be merged", remedy="Choose two or more.")
    best = max(chosen, key=lambda o: (o.score, -o.id))
    mask = union([o.mask for o in chosen])
    made = _child(state.first_free, mask, best, tuple(o.id for o in chosen), source)
    return (*(_removed(o) for o in chosen), Change((made.id,), None, made.record()))


def delete(state: ImageState, number: int | None) -> Changes:
    """Remove an organoid altogether."""
    return (_removed(organoid_of(state, number)),)


def set_class(state: ImageState, number: int | None, category: int) -> Changes:
    """Another class for an organoid; nothing when it has it."""
    organoid = organoid_of(state, number)
    if organoid.category == category:
        return ()
    return (Change((organoid.id,), {"category": organoid.category}, {"category": category}),)


def _child(
    number: int, mask: Mask, parent: Organoid, parents: tuple[int, ...], source: str
) -> Organoid:
    return Organoid(
        number,
        mask,
        "accepted",
        parent.category,
        parent.score,
        source,
        edited=True,
        parents=parents,
    )


def _removed(organoid: Organoid) -> Change:
    record: dict[str, Any] = organoid.record()
    return Change((organoid.id,), record, None)


def _check_inside(state: ImageState, mask: Mask) -> None:
    y0, x0, y1, x1 = mask.box
    if y0 < 0 or x0 < 0 or y1 > state.shape[0] or x1 > state.shape[1]:
        raise UsageError("The outline reaches beyond the image", remedy="Draw it inside the image.")
