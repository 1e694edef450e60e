"""A compact network that goes on from a trained one."""

from pathlib import Path

import pytest
import torch

from organoseg.core import DataError, UsageError
from organoseg.models.folder import load_module, save_model
from organoseg.models.registry import build_engine
from organoseg.models.starter import starter


def test_it_begins_as_the_starter_model_and_needs_no_encoder_file(tmp_path: Path) -> None:
    module = build_engine("compact", (1,), {"start": "starter"}, str(tmp_path / "not there.npz"))
    source, _ = load_module(starter())
    theirs = source.state_dict()
    assert all(torch.equal(v, theirs[k].float()) for k, v in module.state_dict().items())


def test_what_is_saved_does_not_ask_for_its_start_again(tmp_path: Path) -> None:
    module = build_engine("compact", (1,), {"start": "starter"}, None)
    options = dict(module.options)  # type: ignore[arg-type]
    assert options["start"] is None
    save_model(tmp_path / "model", module, "compact", options, {1: "organoid"}, 0.5, {})
    again, _ = load_module(tmp_path / "model")
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in module.state_dict().items())


def test_with_several_classes_only_the_predictor_is_new() -> None:
    module = build_engine("compact", (1, 2), {"start": "starter"}, None)
    source, _ = load_module(starter())
    theirs, ours = source.state_dict(), module.state_dict()
    other = {k for k in ours if not torch.equal(ours[k], theirs[k].float())} - {
        "network.score.weight", "network.score.bias",
    }  # fmt: skip
    assert other == set()
    assert ours["network.score.weight"].shape[0] == 2


@pytest.mark.parametrize("name", ["width", "padding"])
def test_another_form_is_refused(name: str) -> None:
    _, described = load_module(starter())
    other = {"width": 32, "padding": "tensorflow"}
    if described.options["padding"] == "tensorflow":
        other["padding"] = "symmetric"
    with pytest.raises(UsageError, match=f"begin from has {name}"):
        build_engine("compact", (1,), {"start": "starter", name: other[name]}, None)


def test_no_model_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model\.yaml"):
        build_engine("compact", (1,), {"start": str(tmp_path)}, None)
