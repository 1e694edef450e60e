"""What a review says about one image, as training reads it: organoids, where nobody looked, and who said so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organoseg.core import Instances, Mask
from organoseg.review.history import Entry, History
from organoseg.review.project import Project
from organoseg.review.state import ImageState, Organoid

# Around a decided organoid this share of its size counts as looked at, within these bounds in px.
_MARGIN, _LEAST, _MOST = 0.15, 3.0, 16.0


@dataclass(frozen=True, eq=False)
class Reviewed:
    """One image's labels. ``unknown``: where nobody looked, None when complete; ``facts``: one record an organoid."""

    key: str
    instances: Instances
    unknown: Mask | None
    complete: bool
    facts: tuple[dict[str, Any], ...]

    @property
    def digest(self) -> str:
        """Hash of all that training sees: equal digests need no new export."""
        regions = [self.unknown] if self.unknown is not None else []
        content = {
            "masks": [r["counts"] for r in self.instances.to_rles()],
            "classes": self.instances.classes.tolist(),
            "unknown": [
                r["counts"] for r in Instances.from_masks(self.instances.shape, regions).to_rles()
            ],
            "ids": self.instances.ids.tolist(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def reviewed_image(
    project: Project, history: History, key: str, state: ImageState
) -> Reviewed | None:
    """The labels of an image; None when nobody decided on anything in it."""
    decided = [o for o in state.organoids.values() if o.status != "unseen"]
    if not state.complete and not decided:
        return None
    accepted = state.instances("accepted")
    unknown = None if state.complete else unknown_region(state)
    found = project.found(key)
    before = found.iou(accepted).max(axis=0, initial=0.0)
    facts = tuple(
        {
            **_work(history.standing(key), state.organoids[number]),
            "iou_before": round(float(overlap), 4),
        }
        for number, overlap in zip(accepted.ids.tolist(), before.tolist(), strict=True)
    )
    return Reviewed(key, accepted, unknown, state.complete, facts)


def unknown_region(state: ImageState) -> Mask | None:
    """All pixels but those of decided organoids and a margin around them; undecided ones stay unknown.

    None when every pixel is known.
    """
    known = np.zeros(state.shape, np.bool_)
    for organoid in state.organoids.values():
        if organoid.status != "unseen":
            _add(known, organoid.mask)
    _stamp(known, (o.mask for o in state.organoids.values() if o.status == "unseen"), False)
    _stamp(known, (o.mask for o in state.organoids.values() if o.status == "accepted"), True)
    return Mask.from_bits(~known)


def _add(known: NDArray[np.bool_], mask: Mask) -> None:
    """Mark a mask and its margin."""
    from scipy.ndimage import distance_transform_edt

    margin = float(np.clip(_MARGIN * np.sqrt(mask.area), _LEAST, _MOST))
    pad = int(np.ceil(margin))
    near = distance_transform_edt(~np.pad(mask.bits, pad)) <= margin
    top, left = mask.y - pad, mask.x - pad
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + near.shape[0], known.shape[0]), min(left + near.shape[1], known.shape[1])
    known[y0:y1, x0:x1] |= near[y0 - top : y1 - top, x0 - left : x1 - left]


def _stamp(known: NDArray[np.bool_], masks: Iterable[Mask], value: bool) -> None:
    for mask in masks:
        y0, x0, y1, x1 = mask.box
        known[y0:y1, x0:x1][mask.bits] = value


def _work(entries: Sequence[Entry], organoid: Organoid) -> dict[str, Any]:
    """Who decided on an organoid, when, how and how long it took; work on what it was made of counts too."""
    family, waiting = set[int](), [organoid.id, *organoid.parents]
    parents = {
        n: tuple(change.after.get("parents", ()))
        for entry in entries
        for change in entry.changes
        if change.after is not None
        for n in change.ids
    }
    while waiting:
        number = waiting.pop()
        if number not in family:
            family.add(number)
            waiting.extend(parents.get(number, ()))
    touching = [e for e in entries if family & set(e.organoids)]
    last = touching[-1] if touching else None
    return {
        "organoid": organoid.id,
        "source": organoid.source,
        "score": round(organoid.score, 6),
        "edited": organoid.edited,
        "how": [e.action for e in touching],
        "reviewer": last.reviewer if last else "",
        "at": last.at if last else "",
        "seconds": round(sum(e.seconds / max(len(e.organoids), 1) for e in touching), 2),
    }
