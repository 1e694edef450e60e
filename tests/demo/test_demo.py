"""The demo as a user runs it, in its smallest form."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from organoseg.cli.main import main
from organoseg.dataset import load_coco
from organoseg.io import read_image, read_instances


def quick(out: Path, *more: str) -> int:
    return main(["-q", "demo", "--quick", "--out", str(out), "--threads", "1", *more])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("user") / "demo"
    assert quick(out) == 0
    return out


def figures(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def test_summary_has_both_methods_with_what_the_readme_promises(demo: Path) -> None:
    summary = figures(demo)
    for method in ("supervised", "guided"):
        for name in ("AP", "AP50", "AP75", "precision", "recall_overlapping", "recall_isolated"):
            value = summary[method][name]
            assert value is None or 0 <= value <= 1, name
        assert set(summary[method]["intervals"]) >= {"AP", "AP50", "AP75"}
        # The curve ends where training ends: both took the same number of steps.
        assert summary[method]["curve"][-1][0] == summary["steps"] == 20
    assert summary["seconds"] > 0
    assert summary["seed"] == 0
    assert summary["machine"]["torch"]
    assert summary["verdict"]


def test_words_agree_with_the_figures_whoever_won(demo: Path) -> None:
    summary = figures(demo)
    lost = not summary["difference"]["AP"] > 0
    text = " ".join(summary["remarks"])
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert ("did not win" in text) == ("did not win" in page) == lost
    assert "the first teacher proposed" in text
    # "The unlabelled images helped" is for a gain that is certain.
    certain = (summary["difference"]["interval"][0] or 0) > 0
    assert ("images helped" in summary["verdict"]) == certain


class Sources(HTMLParser):
    """Collects what the page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "href", "srcset", "data", "action", "xlink:href")
        self.found += [value or "" for name, value in attrs if name in names]
        assert tag not in ("script", "link", "iframe")


def test_report_and_gallery_stand_alone(demo: Path) -> None:
    text = (demo / "report.html").read_text(encoding="utf-8")
    sources = Sources()
    sources.feed(text)
    assert sources.found
    assert all(source.startswith("data:image/") for source in sources.found)
    plain = re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"https?:|file:|url\(|@import", plain)
    # No path of the machine it was made on.
    assert str(demo) not in plain
    with Picture.open(demo / "gallery.png") as picture:
        picture.load()
        assert picture.width > 96 * 4


def test_data_are_as_a_users_own_would_be_and_no_image_is_in_two_parts(demo: Path) -> None:
    from organoseg.archive import Archive

    data = demo / "data"
    parts = [load_coco(data / f"{part}.json", data / part) for part in ("labelled", "test")]
    parts.append(load_coco(data / "validation.json", data / "validation"))
    archive = Archive.open(data / "archive.zarr")
    hashes = [item.image.identity for part in parts for item in part]
    hashes += [entry.pixel_hash for entry in archive.entries]
    assert len(set(hashes)) == len(hashes) == 2 + 3 + 2 + 4


def test_predictions_give_the_summary_again_and_both_models_are_kept(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = figures(demo)
    for method in ("supervised", "guided"):
        found, truth = demo / method / "test.json", demo / "data" / "test.json"
        arguments = ["--predictions", str(found), "--ground-truth", str(truth), "--bootstrap", "0"]
        capsys.readouterr()
        assert main(["evaluate", *arguments, "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["AP"] == pytest.approx(summary[method]["AP"], abs=1e-9)
        results = demo / method / "predictions"
        assert len(read_instances(results / "instances.json")) == 3
        assert (results / "measurements.csv").is_file()
        image, out = demo / "data" / "test" / "test_000.png", demo.parent / f"again_{method}"
        model = demo / method / "model"
        assert main(["predict", str(image), "--model", str(model), "--out", str(out)]) == 0
        assert read_image(out / "labels" / "test_000.png.tif").shape == (96, 96)


def timeless(out: Path) -> dict[str, Any]:
    summary = figures(out)
    del summary["seconds"]
    for method in ("supervised", "guided"):
        del summary[method]["train_seconds"]
    return summary


def test_again_only_when_asked_and_to_the_same_figures(
    demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = timeless(demo)
    assert quick(demo) == 2
    assert "--force" in capsys.readouterr().err
    own = demo / "my notes.txt"
    own.write_text("mine")
    assert quick(demo, "--force") == 0
    assert timeless(demo) == before
    assert own.read_text() == "mine"


def test_a_folder_of_somebodys_own_is_never_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "data" / "plate.tif"
    own.parent.mkdir()
    own.write_bytes(b"the only copy")
    for more in ((), ("--force",)):
        assert quick(tmp_path, *more) == 2
        assert "no demo" in capsys.readouterr().err
    assert own.read_bytes() == b"the only copy"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_wrong_weights_file_leaves_no_summary_and_can_be_done_again(tmp_path: Path) -> None:
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"not weights")
    out = tmp_path / "demo"
    assert quick(out, "--encoder-weights", str(weights)) == 3
    assert not (out / "summary.json").exists()
    assert quick(out) == 2
