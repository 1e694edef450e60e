"""Anchors and limits follow the labelled organoids; needs no detectron2."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from organoseg.core import Image, Instances, Mask, UsageError
from organoseg.dataset.labelled import LabelledDataset, LabelledImage
from organoseg.models.detectron2.adaptation import adapt_options, anchor_sizes
from organoseg.models.detectron2.options import Detectron2Options, parse_options, resolved
from organoseg.models.statistics import LabelStatistics, statistics_of


def crowd(n: int, low: float = 15, high: float = 80, **more: Any) -> LabelStatistics:
    return LabelStatistics(np.geomspace(low, high, 50), n, **more)


def test_statistics_are_of_boxes_and_of_the_fullest_image() -> None:
    def item(name: str, *sides: int) -> LabelledImage:
        masks = [Mask(0, 0, np.ones((s, 4 * s), bool)) for s in sides]
        return LabelledImage(
            Image(np.zeros((60, 90), np.uint8), name=name), Instances.from_masks((60, 90), masks)
        )

    found = statistics_of(LabelledDataset((item("a", 4), item("b", 5, 10))), (0.5, 2.0))
    assert found.sizes.tolist() == [8, 10, 20]
    assert (found.most, found.zoom, found.short_side) == (2, (0.5, 2.0), 60)


def test_anchors_span_the_sizes_and_grow_with_the_grid() -> None:
    sizes = anchor_sizes(crowd(5), 1.0, pyramid=True)
    assert len(sizes) == 5
    assert list(sizes) == sorted(sizes)
    assert sizes[0] == pytest.approx(15.5, abs=0.5)
    assert all(s >= 2.5 * stride for s, stride in zip(sizes, (4, 8, 16, 32, 64), strict=True))
    # What is enlarged needs its anchors on a finer grid of the image.
    finer = anchor_sizes(crowd(5), 2.0, pyramid=True)
    assert finer[-1] == pytest.approx(80, abs=4)
    alone = anchor_sizes(crowd(5), 1.0, pyramid=False)
    assert alone[-1] == pytest.approx(78, abs=4)


def test_the_zoom_of_training_crops_widens_them() -> None:
    plain = anchor_sizes(crowd(5), 1.0, pyramid=False)
    zoomed = anchor_sizes(crowd(5, zoom=(0.5, 2.0)), 1.0, pyramid=False)
    assert zoomed[0] == pytest.approx(plain[0] / 2, abs=0.2)
    assert zoomed[-1] == pytest.approx(plain[-1] * 2, abs=0.3)


@pytest.mark.parametrize(
    ("most", "limit", "proposals", "regions"),
    [(5, 100, 1000, 512), (40, 120, 1000, 512), (400, 1200, 4800, 3200)],
)
def test_limits_follow_the_most_crowded_image(
    most: int, limit: int, proposals: int, regions: int
) -> None:
    found = adapt_options({}, crowd(most))
    assert found["max_instances"] == limit
    assert found["proposals"] == proposals
    assert found["regions_sampled"] == regions


def test_what_the_recipe_says_stays() -> None:
    said = {"anchors": [8, 16, 32, 64, 128], "max_instances": 500, "upscale": 1.5}
    found = adapt_options(said, crowd(5))
    assert found["anchors"] == (8, 16, 32, 64, 128)
    assert (found["max_instances"], found["upscale"]) == (500, 1.5)


def test_a_limit_below_the_labels_is_a_warning_that_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    adapt_options({"max_instances": 30}, crowd(41))
    assert "is 30, but a labelled image has 41 organoids: 11 of them" in caplog.text


def test_a_shorter_side_becomes_one_enlargement_for_crops_and_images() -> None:
    found = adapt_options({"short_side": 800}, crowd(5, short_side=400.0))
    assert (found["short_side"], found["upscale"]) == (None, 2.0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"architecure": "x"}, "architecure"),
        ({"architecture": "yolo"}, "architecture"),
        ({"anchors": []}, "anchors"),
        ({"anchors": [0, 1, 2, 3, 4]}, "anchors must be above 0"),
        ({"nms": 0}, "nms"),
        ({"short_side": 800, "long_side": 600}, "long_side"),
        ({"upscale": float("nan")}, "upscale"),
    ],
)
def test_an_impossible_option_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_options(options)


def test_weights_decide_what_was_left_open() -> None:
    plain = resolved(Detectron2Options(), weighted=False)
    taken = resolved(Detectron2Options(), weighted=True)
    assert (plain.norm, plain.frozen_stages, plain.encoder_rate) == ("GN", 0, 1.0)
    assert (taken.norm, taken.frozen_stages, taken.encoder_rate) == ("FrozenBN", 2, 0.3)
    # The zoo's ResNets were trained on bytes less their mean; a fresh network wants numbers around 1.
    assert taken.pixel_std == (1, 1, 1)
    assert plain.pixel_std is not None
    assert min(plain.pixel_std) > 50
