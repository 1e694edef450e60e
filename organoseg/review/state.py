"""What a reviewer sees of one image: its organoids, and how actions change them. No files here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from organoseg.core import DataError, Instances, Mask
from organoseg.core.coding import mask_to_rle, rle_to_mask

Status = Literal["unseen", "accepted", "rejected"]
STATUSES: tuple[Status, ...] = get_args(Status)
Shape = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Organoid:
    """One organoid as it stands now.

    id: never used twice in an image; status: "unseen" until somebody decides; category: COCO category id; score: the
    model's, 1 for one a person drew; source: "model:NAME" or "human:REVIEWER"; edited: a person changed its mask;
    parents: the organoids that it was split from or merged of.
    """

    id: int
    mask: Mask
    status: Status = "unseen"
    category: int = 1
    score: float = 1.0
    source: str = ""
    edited: bool = False
    parents: tuple[int, ...] = ()

    @property
    def kept(self) -> bool:
        """It counts as an organoid unless somebody said that it is none."""
        return self.status != "rejected"

    def record(self) -> dict[str, Any]:
        """The whole organoid as JSON, its mask as run lengths in its box."""
        return {
            "mask": mask_record(self.mask),
            "status": self.status,
            "category": self.category,
            "score": self.score,
            "source": self.source,
            "edited": self.edited,
            "parents": list(self.parents),
        }


def mask_record(mask: Mask) -> dict[str, Any]:
    """A mask as JSON: corner and size of its box, COCO run lengths within it."""
    rle = mask_to_rle(Mask(0, 0, mask.bits), _size(mask))
    return {"box": [mask.y, mask.x, *rle["size"]], "counts": rle["counts"]}


def mask_of(record: Mapping[str, Any]) -> Mask:
    """The mask of a record; DataError when it is damaged or has no pixel."""
    try:
        y, x, height, width = (int(n) for n in record["box"])
        counts = record["counts"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError("A mask of the journal has no box or no run lengths") from error
    if not (0 < height <= 1 << 20 and 0 < width <= 1 << 20):
        raise DataError("A mask of the journal has an impossible box")
    if not isinstance(counts, str):
        raise DataError("A mask of the journal has no run lengths")
    try:
        mask = rle_to_mask({"size": (height, width), "counts": counts}, (height, width))
    except DataError as error:
        raise DataError(f"A mask of the journal is damaged: {error.what}") from error
    if mask is None:
        raise DataError("A mask of the journal has no pixel")
    return Mask(y + mask.y, x + mask.x, mask.bits)


def _size(mask: Mask) -> Shape:
    height, width = mask.bits.shape
    return height, width


@dataclass(frozen=True)
class Change:
    """What an action does to organoids ``ids``: their fields before and after, None where there is no organoid.

    Only fields that change are named, as in `Organoid.record`; a new or removed organoid has all of them.
    """

    ids: tuple[int, ...]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None

    def inverse(self) -> Change:
        """The change that takes this one back."""
        return Change(self.ids, self.after, self.before)


def _check_there(number: int, there: bool, change: Change) -> None:
    if there != (change.before is not None):
        how = "is there already" if there else "is not there"
        raise DataError(f"The journal changes organoid {number}, which {how}")


@dataclass
class ImageState:
    """The organoids of one image by id, and whether a person said that none is missing.

    ``version``: how often it was changed, so that a view knows when to draw anew. ``first_free``: the next new id.
    """

    shape: Shape
    organoids: dict[int, Organoid] = field(default_factory=dict)
    complete: bool = False
    first_free: int = 1
    version: int = 0

    @classmethod
    def of(cls, instances: Instances) -> ImageState:
        """The state before anybody looked: what the model found."""
        organoids = {
            number: Organoid(number, mask, "unseen", int(category), float(score), source)
            for number, mask, category, score, source in zip(
                instances.ids.tolist(),
                instances.masks,
                instances.classes.tolist(),
                instances.scores.tolist(),
                instances.sources,
                strict=True,
            )
        }
        return cls(instances.shape, organoids, first_free=max(organoids, default=0) + 1)

    def apply(self, changes: tuple[Change, ...], complete: bool | None = None) -> None:
        """Do what a line of the journal says.

        Raises DataError when it does not fit: an organoid that is not there, one that is there already, a mask that
        reaches outside the image. The state is then as it was.
        """
        organoids = dict(self.organoids)
        top = self.first_free
        for change in changes:
            for number in change.ids:
                self._apply_one(organoids, number, change)
                top = max(top, number + 1)
        self.organoids, self.first_free = organoids, top
        self.complete = self.complete if complete is None else complete
        self.version += 1

    def replay(self, steps: Sequence[tuple[tuple[Change, ...], bool | None]]) -> None:
        """Do what many lines say: as `apply` for each, but only the last mask of an organoid is decoded.

        DataError as in `apply`; the state is then as it was.
        """
        alive, born = dict.fromkeys(self.organoids), set[int]()
        fields: dict[int, dict[str, Any]] = {}
        complete, top = self.complete, self.first_free
        for changes, mark in steps:
            complete = complete if mark is None else mark
            for change in changes:
                for number in change.ids:
                    _check_there(number, number in alive, change)
                    top = max(top, number + 1)
                    if change.after is None:
                        del alive[number]
                        fields.pop(number, None)
                    elif change.before is None:
                        alive[number] = None
                        born.add(number)
                        fields[number] = dict(change.after)
                    else:
                        fields.setdefault(number, {}).update(change.after)
        organoids = {}
        for number in alive:
            old = None if number in born else self.organoids[number]
            made = self._made(old, number, fields[number]) if number in fields else old
            if made is not None:
                organoids[number] = made
        self.organoids, self.complete, self.first_free = organoids, complete, top
        self.version += len(steps)

    def _apply_one(self, organoids: dict[int, Organoid], number: int, change: Change) -> None:
        old = organoids.get(number)
        _check_there(number, old is not None, change)
        if change.after is None:
            del organoids[number]
        else:
            organoids[number] = self._made(old, number, change.after)

    def _made(self, old: Organoid | None, number: int, after: Mapping[str, Any]) -> Organoid:
        fields: dict[str, Any] = dict(after)
        try:
            if "mask" in fields:
                record = fields["mask"]
                fields["mask"] = record if isinstance(record, Mask) else mask_of(record)
                self._check_inside(fields["mask"])
            if "parents" in fields:
                fields["parents"] = tuple(int(n) for n in fields["parents"])
            made = Organoid(id=number, **fields) if old is None else replace(old, **fields)
        except TypeError as error:
            raise DataError(f"The journal names an unknown field of organoid {number}") from error
        if made.status not in STATUSES:
            raise DataError(f"The journal gives organoid {number} the status {made.status!r}")
        return made

    def _check_inside(self, mask: Mask) -> None:
        y0, x0, y1, x1 = mask.box
        if y0 < 0 or x0 < 0 or y1 > self.shape[0] or x1 > self.shape[1]:
            raise DataError(
                f"The journal has a mask that reaches outside the image of {self.shape}"
            )

    def instances(self, *statuses: Status) -> Instances:
        """The organoids of these statuses (all but rejected ones where none is named), by rising id."""
        wanted = statuses or ("unseen", "accepted")
        chosen = [o for _, o in sorted(self.organoids.items()) if o.status in wanted]
        return Instances.from_masks(
            self.shape,
            [o.mask for o in chosen],
            scores=[o.score for o in chosen],
            classes=[o.category for o in chosen],
            ids=[o.id for o in chosen],
            sources=[o.source for o in chosen],
        )

    @property
    def unseen(self) -> tuple[int, ...]:
        """Ids nobody has decided on."""
        return tuple(n for n, o in self.organoids.items() if o.status == "unseen")
