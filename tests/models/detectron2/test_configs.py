"""The recipes of this engine are valid; needs no detectron2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from organoseg.models.detectron2.options import parse_options
from organoseg.models.detectron2.zoo import BACKBONES, MODELS, entry_of
from organoseg.training.methods import Guided
from organoseg.training.recipe import load_recipe

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
NAMES = sorted(path.name for path in CONFIGS.glob("detectron2_*.yaml"))


def test_there_are_two() -> None:
    assert NAMES == ["detectron2_mask_rcnn_r50.yaml", "detectron2_tiny.yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid_and_its_weights_are_of_its_architecture(name: str) -> None:
    loaded = load_recipe(CONFIGS / name)
    assert loaded.data.labelled.images == CONFIGS / "labels"
    assert loaded.model.engine == "detectron2"
    assert loaded.model.encoder_weights is None
    assert isinstance(loaded.method, Guided)
    options = parse_options(loaded.model.options)
    # What follows the labels is left open.
    assert (options.anchors, options.max_instances, options.proposals) == (None, None, None)
    if options.start is not None:
        entry = entry_of(options.start)
        assert entry is not None
        assert entry.architecture == options.architecture


def test_every_published_model_states_a_checksum_and_names_a_known_architecture() -> None:
    for name, entry in MODELS.items():
        assert re.fullmatch("md5:[0-9a-f]{6}", entry.checksum or ""), name
        assert parse_options({"architecture": entry.architecture})
    assert all(entry.checksum is None for entry in BACKBONES.values())


@pytest.mark.parametrize(
    "word",
    ["detectron2://{}", "{}.pkl", "{}.yaml", "{}"],
)
def test_a_published_name_may_be_written_as_detectron2_does(word: str) -> None:
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
    assert entry_of(word.format(name)) is MODELS[name]
