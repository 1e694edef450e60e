"""Instances: the organoids of one image, with masks that may overlap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from organoseg.core import coding, geometry, overlap
from organoseg.core.errors import DataError
from organoseg.core.fields import checked_shape, column, frozen, kept, label_masks
from organoseg.core.mask import Mask

Shape = tuple[int, int]
Rule = Literal["score", "small", "large"]


@dataclass(frozen=True, eq=False)
class Instances:
    """The organoids of one image; a mask is never cut to fit another.

    shape: (H, W) of the image; masks: N masks inside it; scores: float32 (N,), finite; classes:
    int32 (N,), COCO category ids; ids: int64 (N,), unique, from 1; sources: N words telling who
    made each. DataError when these do not hold. Arrays are kept read-only.
    """

    shape: Shape
    masks: tuple[Mask, ...]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    ids: NDArray[np.int64]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", checked_shape(self.shape))
        object.__setattr__(self, "masks", tuple(self.masks))
        object.__setattr__(self, "sources", tuple(self.sources))
        for field, dtype in (("scores", np.float32), ("classes", np.int32), ("ids", np.int64)):
            object.__setattr__(self, field, column(getattr(self, field), dtype, field))
        for field in ("scores", "classes", "ids", "sources"):
            if len(getattr(self, field)) != len(self.masks):
                raise DataError(f"{len(self.masks)} masks but {len(getattr(self, field))} {field}")
        if not np.isfinite(self.scores).all():
            raise DataError("A score is not a finite number")
        if len(self.masks) and self.ids.min() < 1:
            raise DataError("Ids of organoids begin at 1")
        if len(np.unique(self.ids)) != len(self.masks):
            raise DataError("Two organoids of one image have the same id")
        boxes = self.boxes
        if (boxes[:, :2] < 0).any() or (boxes[:, 2:] > self.shape).any():
            raise DataError(f"A mask reaches outside the image of {self.shape}")

    # -- makers -------------------------------------------------------------------------------

    @classmethod
    def empty(cls, shape: Shape) -> "Instances":
        """No organoid in an image of `shape`."""
        return cls.from_masks(shape, ())

    @classmethod
    def from_masks(
        cls,
        shape: Shape,
        masks: Sequence[Mask | None],
        scores: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        sources: Sequence[str] | None = None,
        drop_empty: bool = False,
    ) -> "Instances":
        """From masks; scores default to 1, classes to 1, ids to 1..N, sources to "".

        A mask that is None (empty) is a DataError, or left out with its fields if `drop_empty`.
        """
        count = len(masks)
        missing = [index for index, mask in enumerate(masks) if mask is None]
        if missing and not drop_empty:
            raise DataError(
                f"{len(missing)} of {count} masks have no pixel, the first is number {missing[0]}",
                remedy="Remove them, or pass drop_empty=True",
            )
        return cls(
            shape,
            tuple(mask for mask in masks if mask is not None),
            kept(np.ones(count, np.float32) if scores is None else scores, masks, "scores"),
            kept(np.ones(count, np.int32) if classes is None else classes, masks, "classes"),
            kept(np.arange(1, count + 1) if ids is None else ids, masks, "ids"),
            kept(("",) * count if sources is None else sources, masks, "sources"),
        )

    @classmethod
    def from_dense(cls, dense: NDArray[np.bool_], **fields: Any) -> "Instances":
        """From a bool stack (N, H, W); `fields` as in `from_masks`."""
        if dense.ndim != 3 or dense.dtype != np.bool_:
            raise DataError(f"A bool stack (N, H, W) is needed, not {dense.dtype} {dense.shape}")
        masks = [Mask.from_bits(bits) for bits in dense]
        return cls.from_masks((dense.shape[1], dense.shape[2]), masks, **fields)

    @classmethod
    def from_rles(cls, shape: Shape, rles: Sequence[coding.Rle], **fields: Any) -> "Instances":
        """From N COCO run-length dicts; `fields` as in `from_masks`."""
        shape = checked_shape(shape)
        return cls.from_masks(shape, [coding.rle_to_mask(rle, shape) for rle in rles], **fields)

    @classmethod
    def from_polygons(
        cls, shape: Shape, polygons: Sequence[Sequence[Sequence[float]]], **fields: Any
    ) -> "Instances":
        """From N lists of flat COCO polygons [x0, y0, x1, y1, ...]; `fields` as in `from_masks`."""
        shape = checked_shape(shape)
        masks = [coding.polygons_to_mask(parts, shape) for parts in polygons]
        return cls.from_masks(shape, masks, **fields)

    @classmethod
    def from_labels(cls, labels: NDArray[Any], **fields: Any) -> "Instances":
        """From a label image (H, W) of whole numbers: 0 is background, a value is an id.

        Instances come in the order of their ids. DataError on negative or fractional labels.
        """
        ids, masks = label_masks(labels)
        shape = (labels.shape[0], labels.shape[1])
        return cls.from_masks(shape, masks, **{"ids": ids, **fields})

    # -- reading ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[Mask]:
        return iter(self.masks)

    def __repr__(self) -> str:
        return f"Instances({len(self)} in {self.shape[0]} x {self.shape[1]})"

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each mask, (N,)."""
        return frozen(np.array([mask.area for mask in self.masks], np.int64))

    @cached_property
    def boxes(self) -> NDArray[np.int32]:
        """y0, x0, y1, x1 of each mask, half-open, (N, 4)."""
        return frozen(np.array([m.box for m in self.masks], np.int32).reshape(-1, 4))

    def to_dense(self) -> NDArray[np.bool_]:
        """Bool stack (N, H, W)."""
        dense = np.zeros((len(self), *self.shape), np.bool_)
        for plane, mask in zip(dense, self.masks, strict=True):
            y0, x0, y1, x1 = mask.box
            plane[y0:y1, x0:x1] = mask.bits
        return dense

    def to_rles(self) -> list[dict[str, Any]]:
        """N compressed COCO run-length dicts, ready for JSON."""
        return [coding.mask_to_rle(mask, self.shape) for mask in self.masks]

    def to_polygons(self) -> list[list[list[float]]]:
        """N lists of flat COCO polygons: the outer outlines of each part. Holes are lost."""
        return [coding.mask_to_polygons(mask) for mask in self.masks]

    def render(self, rule: Rule = "score") -> NDArray[np.uint32]:
        """Label image (H, W) of ids; `rule` says which organoid gets a pixel that several cover.

        "score": the highest score; "small" / "large": the smallest / largest area. Ties go to the
        lower id. DataError on another rule or an id above 2^32 - 1.
        """
        keys: dict[str, NDArray[Any]] = {
            "score": self.scores,
            "small": -self.areas,
            "large": self.areas,
        }
        if rule not in keys:
            raise DataError(f"Unknown rule {rule!r}", remedy="Use score, small or large")
        if len(self) and self.ids.max() > np.iinfo(np.uint32).max:
            raise DataError("An id is too large for a label image", remedy="Renumber the organoids")
        order = np.lexsort((-self.ids, keys[rule]))
        return overlap.paint(self.shape, self.masks, self.ids, order)

    # -- new sets from old --------------------------------------------------------------------

    def select(self, index: NDArray[Any] | slice | Sequence[int]) -> "Instances":
        """The chosen organoids, by whole numbers, bool (N,) or slice, in that order."""
        if not isinstance(index, slice):
            index = np.asarray(index)
            index = index.astype(np.int64) if index.size == 0 and index.dtype != bool else index
        chosen = np.arange(len(self))[index]
        return Instances(
            self.shape,
            tuple(self.masks[i] for i in chosen.tolist()),
            self.scores[chosen],
            self.classes[chosen],
            self.ids[chosen],
            tuple(self.sources[i] for i in chosen.tolist()),
        )

    def replace(self, **fields: Any) -> "Instances":
        """The same with some fields exchanged, checked again."""
        return replace(self, **fields)

    def crop(self, y: int, x: int, h: int, w: int, min_area: int = 1) -> "Instances":
        """What lies in the window with corner (y, x); ids kept, pieces under `min_area` left out.

        The window may reach beyond the image; there is nothing there.
        """
        parts = [geometry.window(mask, y, x, h, w) for mask in self.masks]
        large = [m if m is not None and m.area >= min_area else None for m in parts]
        return self._with_masks((h, w), large)

    def flip(self, axis: int) -> "Instances":
        """Mirrored as np.flip does: axis 0 up-down, axis 1 left-right."""
        if axis not in (0, 1):
            raise DataError(f"An image has axes 0 and 1, not {axis}")
        return self._with_masks(
            self.shape, [geometry.flip(mask, self.shape, axis) for mask in self.masks]
        )

    def rot90(self, k: int = 1) -> "Instances":
        """Turned by k quarters as np.rot90 does."""
        shape = self.shape if k % 2 == 0 else self.shape[::-1]
        return self._with_masks(shape, [geometry.rot90(m, self.shape, k) for m in self.masks])

    def scale(self, shape: Shape) -> "Instances":
        """Resized with the image to `shape`; an organoid that vanishes is left out."""
        shape = checked_shape(shape)
        return self._with_masks(shape, [geometry.scale(m, self.shape, shape) for m in self.masks])

    def _with_masks(self, shape: Shape, masks: Sequence[Mask | None]) -> "Instances":
        return Instances.from_masks(
            shape, masks, self.scores, self.classes, self.ids, self.sources, drop_empty=True
        )

    def union(self, other: "Instances") -> "Instances":
        """These organoids, then those of `other`, whose ids change where they are taken."""
        self._same_shape(other)
        ids = other.ids.copy()
        taken = np.isin(ids, self.ids)
        top = max([0, *self.ids.tolist(), *ids.tolist()])
        ids[taken] = np.arange(top + 1, top + 1 + np.count_nonzero(taken))
        return Instances(
            self.shape,
            self.masks + other.masks,
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.classes, other.classes]),
            np.concatenate([self.ids, ids]),
            self.sources + other.sources,
        )

    def nms(self, iou: float) -> "Instances":
        """Mask non-maximum suppression: of two with an IoU above `iou`, the higher score stays.

        Greedy from the best score (ties: lower id), whatever the class; order and ids are kept.
        """
        order = np.lexsort((self.ids, -self.scores.astype(np.float64)))
        pairs = self._close_pairs(self, iou)
        return self.select(overlap.suppress(order, self.areas, pairs, iou))

    # -- comparing ----------------------------------------------------------------------------

    def intersection(self, other: "Instances") -> NDArray[np.int64]:
        """Shared pixels, (N, M)."""
        rows, columns, shared = self._pairs(other)
        table = np.zeros((len(self), len(other)), np.int64)
        table[rows, columns] = shared
        return table

    def iou(self, other: "Instances", at_least: float = 0.0) -> NDArray[np.float64]:
        """Intersection over union, (N, M), 0 to 1; values below `at_least` may read 0, which is faster."""
        rows, columns, shared = self._close_pairs(other, at_least)
        table = np.zeros((len(self), len(other)), np.float64)
        table[rows, columns] = shared / (self.areas[rows] + other.areas[columns] - shared)
        return table

    def overlap_fraction(self) -> NDArray[np.float64]:
        """Share of each organoid's pixels that at least one other one covers too, (N,), 0 to 1."""
        return overlap.covered_by_others(self.shape, self.masks) / np.maximum(self.areas, 1)

    def _pairs(self, other: "Instances") -> overlap.Pairs:
        self._same_shape(other)
        return overlap.pair_intersections(self.masks, other.masks, self.boxes, other.boxes)

    def _close_pairs(self, other: "Instances", iou: float) -> overlap.Pairs:
        self._same_shape(other)
        boxes, areas = (self.boxes, other.boxes), (self.areas, other.areas)
        return overlap.close_pairs(self.masks, other.masks, boxes, areas, iou)

    def _same_shape(self, other: "Instances") -> None:
        if self.shape != other.shape:
            raise DataError(f"Organoids of images of {self.shape} and {other.shape} do not compare")
