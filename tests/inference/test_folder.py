"""Folders of images in, results out: one bad file costs one file, and a second run does only what is missing."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import tifffile
import torch
from PIL import Image as Pillow

import organoseg
from organoseg.cli.main import main
from organoseg.core import DataError, Image, Instances, RunError, UsageError
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.inference.api import Model, choose_device, load_model
from organoseg.inference.folder import Outcome, predict_folder
from organoseg.inference.image import CappedResultWarning
from organoseg.inference.progress import silent
from organoseg.inference.settings import PredictSettings
from organoseg.inference.tidy import tidied
from organoseg.io import read_instances
from organoseg.models.folder import save_model
from organoseg.models.registry import build_engine

SPEC = SyntheticSpec(size=96, count=(2, 4), radius=(8, 20))


def save(folder: Path, seed: int, score_threshold: float = 0.05, **options: int) -> Path:
    """An untrained model that sees something in most places."""
    torch.manual_seed(seed)
    engine = build_engine("compact", (1,), {"width": 16, "max_instances": 40, **options}, None)
    with torch.no_grad():
        engine.network.score.bias.fill_(0.0)  # type: ignore[union-attr,operator]
    save_model(folder, engine, "compact", engine.options, {1: "organoid"}, score_threshold, {})  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "model", 0)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images, two of one name in folders of their own."""
    folder = tmp_path / "images"
    for n, name in enumerate(("plate1/well.png", "plate2/well.png", "single.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(make_image(n, SPEC).image.pixels).save(folder / name)
    return folder


# An untrained model draws masks over each other.
pytestmark = pytest.mark.filterwarnings("ignore:.*lie wholly under others")
NAMES = ["plate1/well.png", "plate2/well.png", "single.png"]


def run(paths: list[Path], model: Path, out: Path, **more: Any) -> Outcome:
    return predict_folder(paths, model, out, tell=silent, **more)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every image's own results: a file written anew has others."""
    found = (*(out / "parts").rglob("*.json"), *(out / "labels").rglob("*.tif"))
    return {str(p.relative_to(out)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in found}


def test_every_image_gets_its_own_results_whatever_folder_it_is_in(
    images: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert not run([images], model, out).failures
    found = read_instances(out / "instances.json")
    assert sorted(found) == NAMES
    ready = load_model(model)
    for name in NAMES:
        expected = ready.predict(images / name)
        assert found[name].to_rles() == expected.to_rles()
        assert np.allclose(found[name].scores, expected.scores)
        assert set(found[name].sources) <= {f"model:{ready.description.identity}"}
        labels = tifffile.imread(out / "labels" / f"{name}.tif")
        assert labels.shape == (96, 96)
        assert np.array_equal(labels > 0, expected.render() > 0)
    assert sum(len(f) for f in found.values()) > 0
    table = rows(out / "measurements.csv")
    assert len(table) == sum(len(f) for f in found.values())
    assert {r["image"] for r in table} <= set(NAMES)
    assert not (out / "errors.csv").exists()


def test_one_bad_file_costs_one_file_and_a_second_run_does_only_that(
    images: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bad = tmp_path / "out", images / "plate2" / "well.png"
    good = bad.read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    command = ["predict", str(images), "--model", str(model), "--out", str(out)]
    assert main(command) == 1
    assert "1 files failed, 2 pictures have results" in capsys.readouterr().err
    (row,) = rows(out / "errors.csv")
    assert row["file"] == str(bad)
    assert "well.png" in row["reason"]
    assert sorted(read_instances(out / "instances.json")) == ["plate1/well.png", "single.png"]
    first = stamps(out)
    assert len(first) == 4

    assert main(command) == 1  # still bad, and still the only one that was tried
    assert stamps(out) == first

    bad.write_bytes(good)
    assert main(command) == 0
    second = stamps(out)
    assert {k: second[k] for k in first} == first
    assert len(second) == 6
    assert sorted(read_instances(out / "instances.json")) == NAMES
    assert not (out / "errors.csv").exists()


def test_results_inside_the_folder_of_images_are_not_taken_for_images(
    images: Path, model: Path
) -> None:
    out = images / "results"
    assert not run([images], model, out).failures
    assert not run([images], model, out).failures
    assert sorted(read_instances(out / "instances.json")) == NAMES


def test_half_of_an_images_results_are_made_again(
    images: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run([images], model, out)
    before = stamps(out)
    (out / "labels" / "single.png.tif").unlink()
    run([images], model, out)
    after = stamps(out)
    assert after.keys() == before.keys()
    changed = {k for k in after if after[k] != before[k]}
    assert changed == {"labels/single.png.tif"}


def test_another_kind_of_file_is_written_without_segmenting_again(
    images: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run([images], model, out)
    before = stamps(out)
    monkeypatch.setattr(Model, "look", lambda *_: pytest.fail("segmented again"))
    assert main(["predict", str(images), "--model", str(model), "--out", str(out),
                 "--write", "labels,rois,geojson"]) == 0  # fmt: skip
    assert stamps(out) == before
    found = read_instances(out / "instances.json")
    for name in NAMES:
        rois = roifile.roiread(out / "rois" / f"{name}.zip")
        assert len(rois) == len(found[name])
        features = json.loads((out / "geojson" / f"{name}.geojson").read_text())["features"]
        numbers = {f["properties"]["name"] for f in features}
        assert numbers == {str(int(roi.name)) for roi in rois}


def test_a_kind_of_file_that_is_not_known_is_refused_before_any_work(
    images: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(images), "--model", str(model), "--out", str(out),
                 "--write", "labels,roi"]) == 2  # fmt: skip
    assert "'roi'" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("other", ["model", "threshold"])
def test_results_of_two_models_are_never_mixed(
    images: Path, model: Path, tmp_path: Path, other: str
) -> None:
    out = tmp_path / "out"
    run([images / "single.png"], model, out)
    before = stamps(out)
    second = save(tmp_path / "second", 1) if other == "model" else model
    threshold = 0.5 if other == "threshold" else None
    with pytest.raises(UsageError, match=r"results with another (model|score_threshold)") as caught:
        run([images], second, out, settings=PredictSettings(score_threshold=threshold))
    assert caught.value.where == str(out)
    assert stamps(out) == before


@pytest.mark.parametrize("what", ["empty", "missing"])
def test_without_images_nothing_is_made(model: Path, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "images"
    if what == "empty":
        folder.mkdir()
    with pytest.raises(DataError):
        run([folder], model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_model_nothing_is_made(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model here"):
        run([images], tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_results_that_cannot_be_made_is_named(
    images: Path, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot be made.*file"):
        run([images], model, tmp_path / "file")


def test_the_source_images_are_never_written(images: Path, model: Path, tmp_path: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in images.rglob("*.png")}
    run([images], model, tmp_path / "out")
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in images.rglob("*")
            if p.is_file()} == before  # fmt: skip


# -- the short road -----------------------------------------------------------------------------------


def test_an_array_a_path_and_an_image_give_the_same(images: Path, model: Path) -> None:
    path = images / "single.png"
    pixels = np.asarray(Pillow.open(path))
    ready = organoseg.load_model(model)
    whole = ready.predict(path)
    assert isinstance(whole, Instances)
    assert len(whole) > 0
    for given in (str(path), pixels, Image(pixels), organoseg.read_image(path)):
        found = organoseg.predict(given, ready)
        assert found.to_rles() == whole.to_rles()
        assert found.scores.tolist() == whole.scores.tolist()
    assert organoseg.predict(path, model).to_rles() == whole.to_rles()


def test_a_threshold_of_ones_own_goes_before_the_models(images: Path, model: Path) -> None:
    ready = load_model(model)
    everything = ready.predict(images / "single.png", 0.0)
    middle = float(np.median(everything.scores))
    some = ready.predict(images / "single.png", middle)
    assert 0 < len(some) < len(everything)
    assert (some.scores > middle).all()


def test_a_constant_image_is_taken_and_nan_is_not(model: Path) -> None:
    ready = load_model(model)
    assert ready.predict(np.full((50, 40), 7, np.uint16)).shape == (50, 40)
    broken = np.zeros((40, 40), np.float32)
    broken[1, 1] = np.nan
    with pytest.raises(DataError, match="NaN"):
        ready.predict(broken)
    with pytest.raises(DataError, match="several planes"):
        ready.predict(Image(np.zeros((2, 40, 40), np.uint8), axes="ZYX"))


def test_more_organoids_than_the_engine_returns_are_a_warning(tmp_path: Path) -> None:
    ready = load_model(save(tmp_path / "model", 0, max_instances=1))
    rng = np.random.default_rng(0)
    with pytest.warns(CappedResultWarning, match=r"max_instances"):
        found = ready.predict(rng.random((96, 96)).astype(np.float32), 0.0)
    assert len(found) == 1


def test_a_device_that_is_not_there_is_refused() -> None:
    for name in ("cuda:99", "abacus"):
        with pytest.raises(UsageError, match=rf"device '{name}' cannot be used.*--device cpu"):
            choose_device(name)


def test_a_copied_model_folder_gives_the_same(images: Path, model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    a, b = (organoseg.predict(images / "single.png", m) for m in (model, copy))
    assert a.to_rles() == b.to_rles()


def test_a_thorough_look_has_its_own_threshold_and_its_own_folder(
    images: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="thorough look"):
        run([images], model, tmp_path / "out", settings=PredictSettings(thorough=True))
    out = tmp_path / "thorough"
    assert main(["predict", str(images), "--model", str(model), "--out", str(out),
                 "--thorough", "--score-threshold", "0.2"]) == 0  # fmt: skip
    with pytest.raises(UsageError, match="another thorough"):
        run([images], model, out, settings=PredictSettings(score_threshold=0.2))


def test_a_thorough_look_finds_what_views_agree_on(images: Path, model: Path) -> None:
    image = images / "single.png"
    plain = load_model(model).predict(image, 0.05)
    thorough = load_model(model, thorough=True).predict(image, 0.05)
    assert thorough.shape == plain.shape
    assert thorough.ids.tolist() == list(range(1, len(thorough) + 1))
    assert len(thorough) == 0 or thorough.scores.max() <= 1


def test_the_last_line_says_what_was_found_and_what_to_open_also_when_nothing_was_left_to_do(
    images: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    command = ["predict", str(images), "--model", str(model), "--out", str(out), "--threads", "1"]
    assert main([*command, "--write", "csv,report"]) == 0
    rows = len((out / "measurements.csv").read_text().splitlines()) - 1
    said = f"{rows} organoids in 3 images (0 failed). Open {out / 'report.html'}"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert main([*command, "--write", "csv,report"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert main([*command, "--write", "csv"]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"Open {out / 'measurements.csv'}")
    for silence in (["-q"], ["--progress", "json"], ["--progress", "none"]):
        assert main([*command, "--write", "csv", *silence]) == 0
        assert capsys.readouterr().out == ""


def test_a_failed_file_is_counted_in_the_last_line(
    images: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "broken.png").write_bytes(b"no image")
    out = tmp_path / "results"
    assert main(["predict", str(images), "--model", str(model), "--out", str(out),
                 "--write", "json", "--threads", "1"]) == 1  # fmt: skip
    assert "in 3 images (1 failed)" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "said"), [(0.05, True), (0.4, False)])
def test_a_threshold_far_below_the_models_own_is_said_in_the_report_and_on_the_way(
    images: Path, tmp_path: Path, asked: float, said: bool
) -> None:
    sure = save(tmp_path / "sure", 0, score_threshold=0.57)
    out, heard = tmp_path / "results", list[Any]()
    predict_folder(
        [images / "single.png"], sure, out, PredictSettings(score_threshold=asked),
        write=("report",), tell=lambda event, facts: heard.append((event, facts.get("text"))),
    )  # fmt: skip
    sentence = (
        "The score threshold 0.05 is far below the model's own 0.57: many of these organoids are guesses. "
        "For counts leave it out."
    )
    assert (("note", sentence) in heard) == said
    page = (out / "report.html").read_text().replace("&#x27;", "'").replace("&#39;", "'")
    assert (sentence in page) == said


def test_a_path_that_is_not_there_is_said_before_a_network_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(work: Any) -> Any:
        raise AssertionError("a network was loaded")

    monkeypatch.setattr("organoseg.inference.folder.model_of", loaded)
    missing = tmp_path / "my_images"
    assert main(["predict", str(missing), "--out", str(tmp_path / "out")]) in (2, 3)
    said = capsys.readouterr().err
    assert str(missing) in said
    assert "starter" not in said


def test_masks_come_without_strays_and_holes_unless_raw_ones_are_asked_for(
    images: Path, model: Path, tmp_path: Path
) -> None:
    single = images / "single.png"
    raw = load_model(model, raw_masks=True).predict(single)
    clean = load_model(model).predict(single)
    assert any(tidied(mask) is not mask for mask in raw), "this network draws no stray pixel"
    assert all(tidied(mask) is mask for mask in clean)
    out = tmp_path / "out"
    assert main(["predict", str(single), "--model", str(model), "--out", str(out),
                 "--write", "json", "--raw-masks"]) == 0  # fmt: skip
    assert read_instances(out / "instances.json")["single.png"].areas.tolist() == raw.areas.tolist()
    with pytest.raises(UsageError, match="raw_masks"):
        run([single], model, out)
