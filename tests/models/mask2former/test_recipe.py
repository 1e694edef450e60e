"""A recipe with this engine runs from labels to a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from organoseg.inference.image import Look, segment_image
from organoseg.models.folder import load_module
from organoseg.training.progress import silent
from organoseg.training.recipe import parse_recipe
from organoseg.training.run import train
from tests.models.mask2former.small import OPTIONS
from tests.training.tiny import SPEC, recipe, write_data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mask2former")
    tree = recipe(
        write_data(folder / "data"),
        model={"engine": "mask2former", "options": OPTIONS | {"points": 64}},
        method={"teacher_steps": 2, "pool": 2},
        training={"steps": 4, "validate_every": 4},
    )
    tree["model"]["encoder_weights"] = None
    tree["model"]["options"].pop("width", None)
    train(parse_recipe(tree), folder / "run", reporter=silent)
    return folder / "run"


def test_a_guided_run_leaves_a_model(run: Path) -> None:
    _, description = load_module(run / "model")
    assert description.engine == "mask2former"
    assert description.options["backbone_rate"] == 1.0


@pytest.mark.parametrize("upscale", [1.0, 1.5])
def test_windows_begin_on_the_network_s_grid(run: Path, upscale: float) -> None:
    from organoseg.dataset.synthetic import make_image

    module, _ = load_module(run / "model")
    module.settings = module.settings.model_copy(update={"upscale": upscale})  # type: ignore[union-attr, operator]
    seen: list[torch.Size] = []
    segment = module.segment

    def watched(pixels: torch.Tensor, threshold: float) -> object:
        seen.append(pixels.shape)
        return segment(pixels, threshold)  # type: ignore[operator]

    module.segment = watched  # type: ignore[assignment]
    image = make_image(3, SPEC).image
    segment_image(module, image, 0.3, torch.device("cpu"), Look(tile=80, overlap=16))
    grid = {1.0: 32, 1.5: 64}[upscale]
    assert module.stride == grid
    assert len(seen) == 4
    assert {(SPEC.size - s[2]) % grid for s in seen if s[2] < 80} <= {0}
