"""What an archive holds, in a table that a person understands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from organoseg.archive.catalogue import Catalogue
from organoseg.archive.draws import EMPTY
from organoseg.archive.records import ImageRecord

_COLUMNS = (
    "group",
    "images",
    "planes",
    "axes",
    "size (px)",
    "bits",
    "µm/px",
    "chunks",
    "empty",
    "doubles",
)


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """One row of the table. ``empty``: part of its cells without texture; ``doubles``: planes met before."""

    group: str
    images: int
    planes: int
    axes: str
    size: str
    bits: str
    pixel_size: str
    chunks: str
    empty: float
    doubles: int

    def cells(self) -> tuple[str, ...]:
        """As text."""
        return (
            self.group or "(none)", str(self.images), str(self.planes), self.axes, self.size, self.bits,
            self.pixel_size, self.chunks, f"{self.empty:.0%}", str(self.doubles or ""),
        )  # fmt: skip


def groups_of(catalogue: Catalogue) -> list[GroupInfo]:
    """One entry a group, by name."""
    table, cells = catalogue.plane_table(), catalogue.cells()
    most = max((image.id for image in catalogue.images), default=0) + 1
    planes = np.bincount(table.image, minlength=most)
    doubles = np.bincount(table.image[table.duplicate_of >= 0], minlength=most)
    all_cells = np.bincount(cells.image, minlength=most)
    empty = np.bincount(cells.image[cells.foreground < EMPTY], minlength=most)
    groups: dict[str, list[ImageRecord]] = {}
    for image in catalogue.images:
        groups.setdefault(image.group, []).append(image)
    out = []
    for group, images in sorted(groups.items()):
        ids = [image.id for image in images]
        out.append(
            GroupInfo(
                group, len(images), int(planes[ids].sum()), _few(i.axes for i in images),
                _few("{1} x {0}".format(*i.size) for i in images),
                _few(str(np.dtype(i.dtype).itemsize * 8) for i in images),
                _few("?" if i.pixel_size is None else f"{i.pixel_size[1]:.3g}" for i in images),
                _few(_chunks(i) for i in images),
                float(empty[ids].sum() / max(all_cells[ids].sum(), 1)), int(doubles[ids].sum()),
            )
        )  # fmt: skip
    return out


def _chunks(image: ImageRecord) -> str:
    def side(sizes: Sequence[int]) -> str:
        return f"{sizes[image.axes.index('x')]} x {sizes[image.axes.index('y')]}"

    text = side(image.chunks)
    return text if image.shards is None else f"{text} in {side(image.shards)}"


def _few(values: Iterable[str]) -> str:
    """The most frequent value, and how many others there are."""
    counts = Counter(values)
    first = counts.most_common(1)[0][0]
    return first if len(counts) == 1 else f"{first} (+{len(counts) - 1})"


def summary(catalogue: Catalogue) -> str:
    """The table and a line on each store, as text."""
    rows = [_COLUMNS, *(info.cells() for info in groups_of(catalogue))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = []
    for store in catalogue.stores:
        images = [image for image in catalogue.images if image.store == store.id]
        codecs = _few(image.codec for image in images) if images else "nothing"
        safe = sum(image.checksummed for image in images)
        kind = "an organoseg archive" if store.kind == "organoseg" else "zarr"
        lines.append(f"{store.url}: {kind}, {len(images)} images, {codecs}; {safe} with checksums")
    lines.append("")
    for row in rows:
        text = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(text).rstrip())
    if catalogue.problems:
        lines += ["", f"{len(catalogue.problems)} problems, among them:"]
        lines += [f"  {path or url}: {reason}" for url, path, reason in catalogue.problems[:5]]
    return "\n".join(lines)
