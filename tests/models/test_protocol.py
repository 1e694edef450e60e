"""What engines and methods tell each other."""

import numpy as np
import pytest

from organoseg.core import DataError, Instances, Mask, UsageError
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.protocol import Segmenter, Target
from organoseg.models.registry import build_engine


def two() -> Instances:
    masks = [Mask(0, 0, np.ones((4, 4), bool)), Mask(2, 2, np.ones((4, 4), bool))]
    return Instances.from_masks((8, 8), masks)


def test_a_persons_label_counts_fully() -> None:
    target = Target.labelled(two())
    assert target.weights.tolist() == [1, 1]
    assert target.confidence.tolist() == [1, 1]
    assert target.ignored.tolist() == [False, False]
    assert target.background_weight == 1


@pytest.mark.parametrize("part", ["weights", "confidence", "ignored"])
def test_a_target_needs_one_value_an_instance(part: str) -> None:
    parts = {
        "weights": np.ones(2, np.float32),
        "confidence": np.ones(2, np.float32),
        "ignored": np.zeros(2, bool),
    }
    parts[part] = parts[part][:1]
    with pytest.raises(DataError, match=rf"Target.{part} has shape \(1,\), expected \(2,\)"):
        Target(two(), **parts)  # type: ignore[arg-type]


def test_the_compact_engine_speaks_the_protocol() -> None:
    assert isinstance(CompactSegmenter(width=16), Segmenter)


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown engine 'yolo'.*model\.engine.*compact"):
        build_engine("yolo", (1,), {}, None)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"widht": 64}, "widht"), ({"width": 20}, "width"), ({"nms": 0}, "nms")],
)
def test_an_impossible_option_is_refused_by_name(options: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=rf"option {named}: .*model\.options"):
        build_engine("compact", (1,), options, None)
