"""What the report of the demo is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from organoseg.core import Instances
from organoseg.dataset import LabelledImage
from organoseg.evaluation import Evaluation
from organoseg.evaluation.overlap import OVERLAPPING
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


@dataclass(frozen=True)
class Window:
    """A square of a test image: file name, upper left corner (y, x) and side, in pixels."""

    name: str
    y: int
    x: int
    size: int


def crowded_windows(data: DemoReport, count: int = 2, size: int = 96) -> list[Window]:
    """Where most overlapping organoids lie whole in one window, in `count` different images."""
    ranked = []
    for item in data.test:
        height, width = item.instances.shape
        side = min(size, height, width)
        boxes = item.instances.boxes[item.instances.overlap_fraction() > OVERLAPPING]
        for y0, x0, y1, x1 in boxes.tolist():
            y = min(max(0, (y0 + y1 - side) // 2), height - side)
            x = min(max(0, (x0 + x1 - side) // 2), width - side)
            inside = (boxes[:, :2] >= (y, x)).all(axis=1) & (
                boxes[:, 2:] <= (y + side, x + side)
            ).all(axis=1)
            ranked.append((-int(inside.sum()), item.name, y, x, side))
    chosen: dict[str, Window] = {}
    for _, name, y, x, side in sorted(ranked):
        chosen.setdefault(name, Window(name, y, x, side))
    return list(chosen.values())[:count]
