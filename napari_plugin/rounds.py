"""Was the round worth it? Two models on the same held-out images, and what follows. No Qt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from organoseg.core import DataError, Image, Instances, read_json

#: Low enough for the tail of the precision-recall curve, as in training.
FLOOR = 0.05
#: Below this a gain in AP cannot be seen by eye on the images.
SMALL = 0.01


@dataclass(frozen=True, eq=False)
class Round:
    """A finished round: AP (mean over IoU .5 to .95) on held-out images with its 95 % interval, the AP before and the
    gain where there was a model before, and one image with what the new model finds in it."""

    images: int
    after: float
    interval: tuple[float, float]
    before: float | None
    gain: tuple[float, float, float] | None
    seconds: float | None
    sample: tuple[Image, Instances] | None

    @property
    def advice(self) -> str:
        """Whether another round is worth its time, plainly."""
        low, high = self.interval
        text = f"AP {self.after:.3f} on {self.images} held-out images (95 % sure: {low:.3f} to {high:.3f})"
        if self.seconds is not None:
            text += f", trained in {duration(self.seconds)}"
        text += "."
        if self.before is None or self.gain is None:
            return f"{text}\nThis is the first model. Review its mistakes and train again to see what a round brings."
        gain, worst, best = self.gain
        text += f"\nBefore: {self.before:.3f}. Change {gain:+.3f} ({worst:+.3f} to {best:+.3f})."
        return f"{text}\n{_verdict(gain, worst, best)}"


def _verdict(gain: float, worst: float, best: float) -> str:
    if worst > 0:
        if gain >= SMALL:
            return "The round has paid. Another one is likely to be worth it."
        return "Better, but hardly to be seen. Another round of the same kind is not worth much."
    if best < 0:
        return "Worse than before: keep the model you had, and look whether the last corrections are right."
    if best < SMALL:
        return "No better. Another round of the same kind is not worth it; correct other kinds of images."
    return "These held-out images are too few to tell. Outline more of them before you judge another round."


def duration(seconds: float) -> str:
    """Seconds in words."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


#: Why a run cannot be judged, and what to do.
NOT_MEASURED = (
    "Nobody knows how good this model is, because no image was held out. In Review, mark images of other wells or "
    "series as done, use them for training, and train again: some of them are then kept for judging."
)


def _validation(run: Path) -> dict[str, Any] | None:
    try:
        part = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["data"][
            "validation"
        ]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError("The run's recipe cannot be read", where=run) from error
    return part or None


def is_measured(run: Path) -> bool | None:
    """Whether a run has held-out images; None while its recipe is not there."""
    try:
        return _validation(run) is not None
    except DataError:
        return None


def held_out(run: Path) -> tuple[dict[str, Image], dict[str, Instances]]:
    """The held-out images of a run and their organoids; DataError where the run has none."""
    from organoseg.dataset import few_label_split, load_coco

    part = _validation(run)
    if part is None:
        raise DataError(
            "This run had no held-out images, so nobody knows how good the model is",
            where=run,
            remedy="Mark images of other wells or series as done in Review and use them for training; "
            "or name some in the recipe under data.validation",
        )
    names = part.get("names")
    if part.get("split"):
        file, _, key = str(part["split"]).rpartition("#")
        names = few_label_split(Path(file), key)
    data = load_coco(Path(part["annotations"]), Path(part["images"]), names)
    images = {item.image.name: item.image for item in data}
    return images, {item.image.name: item.instances for item in data}


def judge(run: Path, before: Path | None) -> Generator[tuple[int, int], None, Round]:
    """Segment the held-out images with the run's model, and with the one before; yields (done, of).

    Raises what `held_out` and `organoseg.load_model` raise.
    """
    import organoseg
    from organoseg.evaluation import ap_difference, evaluate

    images, truth = held_out(run)
    folders = [run / "model"] + ([before] if before is not None else [])
    found: list[dict[str, Instances]] = []
    for folder in folders:
        model: Any = organoseg.load_model(folder)
        masks: dict[str, Instances] = {}
        for name, image in images.items():
            masks[name] = model.segment(image, FLOOR)
            yield len(masks) + len(found) * len(images), len(folders) * len(images)
        found.append(masks)
    threshold = organoseg.load_model(run / "model").score_threshold
    figures = evaluate(found[0], truth)
    interval = figures.intervals["AP"]
    gain = None
    if before is not None:
        change, spread = ap_difference(found[1], found[0], truth)
        gain = (change, spread.low, spread.high)
    name = next(iter(images))
    shown = found[0][name]
    return Round(
        images=len(images),
        after=figures.ap,
        interval=(interval.low, interval.high),
        before=evaluate(found[1], truth, bootstrap=0).ap if before is not None else None,
        gain=gain,
        seconds=_seconds(run),
        sample=(images[name], shown.select(shown.scores >= threshold)),
    )


def _seconds(run: Path) -> float | None:
    try:
        return float(read_json(run / "result.json")["seconds"]["train"])
    except (DataError, KeyError, TypeError, ValueError):
        return None
