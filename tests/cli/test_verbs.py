"""The verbs through the real main: results on stdout, exit codes, and options that arrive."""

import json
from pathlib import Path
from unittest.mock import ANY, create_autospec

import numpy as np
import pytest
from PIL import Image as Picture

from organoseg.cli.main import main


@pytest.fixture
def ground_truth(tmp_path: Path) -> Path:
    squares = [[10, 10, 30, 10, 30, 30, 10, 30], [50, 50, 80, 50, 80, 80, 50, 80]]
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": [square], "iscrowd": 0}
        | {"bbox": [square[0], square[1], 20, 20], "area": 400}
        for n, square in enumerate(squares, start=1)
    ]
    path = tmp_path / "truth.json"
    document = {
        "images": [{"id": 1, "file_name": "well.png", "height": 100, "width": 100}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "organoid"}],
    }
    path.write_text(json.dumps(document))
    return path


def evaluate(predictions: Path, ground_truth: Path, *more: str) -> int:
    files = ["--predictions", str(predictions), "--ground-truth", str(ground_truth)]
    return main(["evaluate", *files, "--bootstrap", "10", *more])


def test_evaluate_json_of_a_perfect_prediction(
    ground_truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(ground_truth, ground_truth, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["AP"] == pytest.approx(1.0)
    assert figures["organoids"] == 2


def test_evaluate_prints_a_table(ground_truth: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(ground_truth, ground_truth) == 0
    assert "AP50" in capsys.readouterr().out


def test_evaluate_reads_a_file_with_id_0_as_pycocotools_does_and_says_so(
    ground_truth: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(ground_truth.read_text())
    for number, annotation in enumerate(document["annotations"]):
        annotation["id"] = number
    ground_truth.write_text(json.dumps(document))
    assert evaluate(ground_truth, ground_truth, "--json") == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert figures["AP"] < 0.8
    assert figures["AP_ids_from_1"] == pytest.approx(1.0)
    assert "id 0" in printed.err


@pytest.mark.parametrize("option", ["--predictions", "--ground-truth"])
def test_evaluate_names_the_file_that_is_not_there_and_its_option(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    given = {"--predictions": ground_truth, "--ground-truth": ground_truth}
    given[option] = tmp_path / "absent.json"
    assert evaluate(*given.values()) == 3
    said = capsys.readouterr().err
    assert str(tmp_path / "absent.json") in said
    assert [o for o in given if o in said] == [option]


def test_evaluate_says_which_file_of_a_folder_of_results_is_meant(
    ground_truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    assert evaluate(ground_truth, tmp_path / "results") == 3
    assert "--ground-truth takes a file" in capsys.readouterr().err
    inner = ground_truth.rename(tmp_path / "results" / "instances.json")
    assert evaluate(tmp_path / "results", inner) == 3
    said = capsys.readouterr().err
    assert "--predictions takes a file" in said
    assert f"Perhaps {inner}" in said


def write_picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50), dtype=np.uint8)
    Picture.fromarray(pixels).save(path)


def test_archive_create_keeps_what_it_can_and_names_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plate = tmp_path / "plate"
    plate.mkdir()
    for name, seed in [("a.png", 1), ("b.png", 2), ("b_again.png", 2)]:
        write_picture(plate / name, seed)
    (plate / "broken.png").write_bytes(b"not a picture")
    out = tmp_path / "archive.zarr"
    assert main(["-q", "archive", "create", str(plate), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert "2 images, 2 planes, 1 groups, 1 doubles" in printed.out
    assert "broken.png" in printed.err
    assert "broken.png" in (out / "errors.csv").read_text()


def test_archive_create_never_overwrites(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", 1)
    arguments = ["-q", "archive", "create", str(tmp_path / "a.png"), "--out", str(tmp_path / "z")]
    assert main(arguments) == 0
    assert main(arguments) == 2


def test_archive_create_without_images_is_bad_data(tmp_path: Path) -> None:
    assert main(["archive", "create", str(tmp_path), "--out", str(tmp_path / "z")]) == 3
    assert not (tmp_path / "z").exists()


def test_train_hands_on_recipe_changes_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from organoseg.training import run

    train = create_autospec(run.train)
    monkeypatch.setattr(run, "train", train)
    changes = ["--set", "a.b=1", "--set", "c=x=y"]
    assert main(["train", "recipe.yaml", "--out", "run", *changes, "--device", "cpu"]) == 0
    train.assert_called_once_with(
        Path("recipe.yaml"),
        Path("run"),
        overrides=["a.b=1", "c=x=y", "training.device=cpu"],
        resume=False,
        reporter=ANY,
    )


def test_predict_hands_on_every_path_and_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from organoseg.inference import folder
    from organoseg.inference.cluster import Crew
    from organoseg.inference.items import Failure
    from organoseg.inference.settings import PredictSettings
    from organoseg.inference.writers import USUAL

    failed = folder.Outcome(1, (Failure("b.tif", "broken"),))
    predict_folder = create_autospec(folder.predict_folder, return_value=failed)
    monkeypatch.setattr(folder, "predict_folder", predict_folder)
    command = ["predict", "a.tif", "plate", "--model", "m", "--out", "o", "--jobs", "2"]
    assert main([*command, "--z", "max", "--channel", "1", "--pixel-size", "0.5"]) == 1
    predict_folder.assert_called_once_with(
        ["a.tif", "plate"],
        model=Path("m"),
        out=Path("o"),
        settings=PredictSettings(z="max", channel="1", pixel_size=0.5),
        write=USUAL,
        device=None,
        precision="auto",
        threads=None,
        crew=Crew(2),
        tell=None,
    )


def test_train_refuses_a_recipe_with_an_unknown_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {labelled: {annotations: a.json, images: .}}\n")
    arguments = ["train", str(recipe), "--out", str(tmp_path / "run"), "--set", "training.stepz=5"]
    assert main(arguments) == 2
    assert "stepz" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
