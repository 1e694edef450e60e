"""The card that a run leaves beside its model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from organoseg.core import Image, Instances, Mask
from organoseg.dataset import LabelledDataset, LabelledImage
from organoseg.models.folder import CARD, save_model
from organoseg.models.registry import build_engine
from organoseg.training.cards import SIDE, THUMBNAIL, thumbnail, write_model_card


@pytest.fixture
def held_out() -> LabelledDataset:
    pixels = np.linspace(0, 255, 700 * 500).reshape(700, 500).astype(np.uint8)
    masks = [Mask(100, 100, np.ones((200, 200), bool)), Mask(400, 100, np.ones((200, 200), bool))]
    instances = Instances.from_masks((700, 500), masks, scores=[0.9, 0.1])
    return LabelledDataset((LabelledImage(Image(pixels, name="a.png"), instances),))


def test_a_large_picture_shrinks_and_shows_what_is_reported(held_out: LabelledDataset) -> None:
    found = {"a.png": held_out[0].instances}
    drawn = Picture.open(io.BytesIO(thumbnail(held_out[0], found, 0.5)))
    assert max(drawn.size) <= SIDE
    colours = np.asarray(drawn).astype(int)
    coloured = np.ptp(colours, axis=2) > 40
    assert coloured[:100].any()  # the outline of the certain one
    assert not coloured[130:].any()  # not that of the doubtful one


@pytest.mark.filterwarnings("ignore:.*max_instances")
def test_the_card_gets_figures_and_picture_or_says_why_not(
    tmp_path: Path, held_out: LabelledDataset
) -> None:
    engine = build_engine("compact", (1,), {"width": 16, "max_instances": 20}, None)
    options = dict(engine.options)  # type: ignore[arg-type]
    save_model(tmp_path, engine, "compact", options, {1: "organoid"}, 0.5, {"method": "supervised"})
    assert "Not measured" in (tmp_path / CARD).read_text()
    write_model_card(tmp_path, {"AP": 0.5}, held_out, {"a.png": held_out[0].instances})
    card = (tmp_path / CARD).read_text()
    assert "0.500" in card
    assert f"]({THUMBNAIL})" in card
    assert (tmp_path / THUMBNAIL).is_file()
