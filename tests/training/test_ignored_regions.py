"""Where nobody looked, training asks for nothing."""

from __future__ import annotations

import numpy as np

from organoseg.core import Image, Instances, Mask
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.distill.views import Geometry
from organoseg.models.compact.assignment import assign
from organoseg.training.feed import LabelledFeed

SIDE = 128


def _item(ignored: Instances | None) -> LabelledImage:
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    organoid = Instances.from_masks((SIDE, SIDE), [Mask(10, 10, np.ones((24, 24), bool))])
    return LabelledImage(Image(pixels, name="a.tif"), organoid, ignored)


def _batch(item: LabelledImage):
    geometry = Geometry(crop=SIDE, scale=(1.0, 1.0))
    return LabelledFeed(LabelledDataset((item,)), 4, 0, geometry)(0)


def test_the_score_loss_has_no_weight_where_nobody_looked() -> None:
    half = Instances.from_masks((SIDE, SIDE), [Mask(64, 0, np.ones((64, SIDE), bool))])
    targets = _batch(_item(half)).targets
    for target in targets:
        assert target.ignored.tolist() == [False, True]
        known = assign([target], 8, (SIDE, SIDE), (1,)).known[0]
        y0, x0, y1, x1 = target.instances.masks[1].box
        region = known[(y0 + 4) // 8 : (y1 - 4) // 8, (x0 + 4) // 8 : (x1 - 4) // 8]
        assert not region.any()
        assert known.mean() > 0.4


def test_images_known_everywhere_are_fed_as_before() -> None:
    for target in _batch(_item(None)).targets:
        assert not target.ignored.any()
        assert len(target.instances) == 1
