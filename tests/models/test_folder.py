"""A model on disk: the same bits come back, and anything else is refused by name."""

from pathlib import Path

import pytest
import torch
import yaml

from organoseg.core import DataError, UsageError
from organoseg.models.folder import DESCRIPTION, WEIGHTS, load_module, read_description, save_model
from organoseg.models.registry import build_engine

OPTIONS = {"width": 16, "padding": "tensorflow"}
CLASSES = {7: "cystic", 3: "budding"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    engine = build_engine("compact", tuple(CLASSES), OPTIONS, None)
    save_model(
        tmp_path / "model",
        engine,
        "compact",
        engine.options,
        CLASSES,
        0.4,
        {"seed": 3, "who": "Zoë"},
    )
    return tmp_path / "model"


def test_the_same_bits_come_back(folder: Path) -> None:
    torch.manual_seed(1)
    engine = build_engine("compact", tuple(CLASSES), OPTIONS, None)
    module, description = load_module(folder)
    ours, theirs = engine.state_dict(), module.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert not module.training
    assert module.options == engine.options
    assert module.classes == (7, 3)  # the order of the score channels
    assert description.classes == CLASSES
    assert description.score_threshold == 0.4
    assert description.trained_with == {"seed": 3, "who": "Zoë"}
    pixels = torch.randn(1, 1, 64, 64)
    a, b = (m.eval().segment(pixels, 0.0)[0] for m in (engine, module))
    assert a.scores.tolist() == b.scores.tolist()


def test_the_card_names_the_model(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert read_description(folder).identity in card
    assert "cystic, budding" in card


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no model here.*`model` folder of a finished run"):
        load_module(tmp_path)


def test_one_flipped_bit_is_noticed(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(
        DataError, match=r"damaged.*weights\.safetensors.*Copy the model folder again"
    ):
        load_module(folder)


def test_missing_weights_are_noticed(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        load_module(folder)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / DESCRIPTION
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**tree, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "later"}, "unknown engine 'later'"),
        ({"options": {"depth": 9}}, "option depth"),
    ],
)
def test_a_model_of_a_later_version_is_refused_where_it_lies(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    _edit(folder, **changes)
    with pytest.raises(UsageError, match=words) as caught:
        load_module(folder)
    assert caught.value.where == str(folder / DESCRIPTION)


@pytest.mark.parametrize("changes", [{"format": 2}, {"surprise": 1}, {"score_threshold": 3}])
def test_a_description_that_cannot_be_read_is_refused(
    folder: Path, changes: dict[str, object]
) -> None:
    _edit(folder, **changes)
    with pytest.raises(DataError, match=f"description cannot be read.*{next(iter(changes))}|model"):
        load_module(folder)


def test_weights_of_another_width_do_not_slip_in(folder: Path) -> None:
    _edit(folder, options={**OPTIONS, "width": 32, "frozen_blocks": 0})
    with pytest.raises(DataError, match="do not fit the engine"):
        load_module(folder)


def test_a_save_that_breaks_off_leaves_no_model_that_looks_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build_engine("compact", tuple(CLASSES), OPTIONS, None)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("organoseg.models.folder.write_text", full)
    with pytest.raises(OSError, match="No space"):
        save_model(folder, engine, "compact", engine.options, CLASSES, 0.4, {})
    with pytest.raises(DataError, match="no model here"):
        load_module(folder)
