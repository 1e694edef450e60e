"""What the report of the demo is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from organoseg.core import Instances
from organoseg.dataset import LabelledImage
from organoseg.evaluation import Evaluation
from organoseg.report.gallery import Found, GalleryRow


@dataclass(frozen=True, eq=False)
class Method:
    """One way of training and what came of it.

    label: a word for tables ("supervised"); explanation: a sentence for a biologist; evaluation:
    on the test images; predictions: by file name; curve: (training step, AP on validation images)
    points, may be empty; seconds: training time.
    """

    label: str
    explanation: str
    evaluation: Evaluation
    predictions: Mapping[str, Instances]
    curve: Sequence[tuple[int, float]] = ()
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class DemoReport:
    """The demo from end to end.

    test: labelled test images; methods: the plain one first, the guided one last; labelled,
    unlabelled: numbers of training images; steps: training steps of each method; seconds: of the
    whole demo; seed; remarks: sentences that the reader should know (a guard that fired, a warning);
    synthetic: whether the images are drawn rather than photographed.
    """

    test: Sequence[LabelledImage]
    methods: Sequence[Method]
    labelled: int
    unlabelled: int
    steps: int
    seconds: float
    seed: int = 0
    remarks: Sequence[str] = ()
    synthetic: bool = True

    @property
    def truth(self) -> dict[str, Instances]:
        """Labels of the test images by file name."""
        return {item.name: item.instances for item in self.test}


def gallery_rows(data: DemoReport, names: Sequence[str]) -> list[GalleryRow]:
    """The rows of the gallery for some test images; each method at its own best-F1 score."""
    by_name = {item.name: item for item in data.test}
    rows = []
    for name in names:
        found = {
            method.label: Found(method.predictions[name], method.evaluation.best.threshold)
            for method in data.methods
        }
        item = by_name[name]
        rows.append(GalleryRow(name, item.image.plane(), item.instances, found))
    return rows


def typical_images(data: DemoReport, count: int = 6) -> list[str]:
    """Names of test images for the gallery: evenly from few to many overlaps, not the best ones."""
    ranked = sorted(
        data.test, key=lambda item: (float(item.instances.overlap_fraction().sum()), item.name)
    )
    if count >= len(ranked):
        return [item.name for item in ranked]
    last = len(ranked) - 1
    return [ranked[round(i * last / max(1, count - 1))].name for i in range(count)]


def crowded_windows(data: DemoReport, count: int = 2, size: int = 96) -> list[GalleryRow]:
    """Cut-outs (`size` pixels) around the most overlapping test organoid of different images."""
    found = []
    for item in data.test:
        share = item.instances.overlap_fraction()
        if len(share) and share.max() > 0:
            found.append((-float(share.max()), item.name, int(share.argmax())))
    rows = []
    for _, name, index in sorted(found)[:count]:
        row = gallery_rows(data, [name])[0]
        rows.append(_cut(row, row.truth.masks[index].centroid, size))
    return rows


def _cut(row: GalleryRow, centre: tuple[float, float], size: int) -> GalleryRow:
    height, width = row.pixels.shape
    h, w = min(size, height), min(size, width)
    y = int(min(max(0, centre[0] - h / 2), height - h))
    x = int(min(max(0, centre[1] - w / 2), width - w))
    # Slivers of neighbours at the edge would be judged as organoids of their own.
    smallest = max(4, size * size // 600)
    return GalleryRow(
        row.name,
        row.pixels[y : y + h, x : x + w],
        row.truth.crop(y, x, h, w, smallest),
        {
            label: Found(found.instances.crop(y, x, h, w, smallest), found.score)
            for label, found in row.found.items()
        },
    )
