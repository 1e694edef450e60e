"""`organoseg data` through the real main."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from organoseg.cli import data
from organoseg.cli.main import build_parser, main
from organoseg.dataset.sources import IMPORTERS
from organoseg.dataset.sources.catalogue import CATALOGUE
from tests.dataset.sources import written
from tests.dataset.sources.written import loaded


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))


def labelme_folder(folder: Path) -> Path:
    written.image(folder / "a.png")
    written.labelme(folder / "a.json", "a.png")
    return folder


def test_the_formats_of_the_help_are_those_that_there_are() -> None:
    assert set(data.FORMATS) == {"auto", *IMPORTERS}


def test_list_names_every_set_with_its_terms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    said = capsys.readouterr().out
    for public in CATALOGUE.values():
        assert public.title in said
        assert public.page in said
    assert main(["data", "list", "--json"]) == 0
    sets = json.loads(capsys.readouterr().out)["sets"]
    assert [one["name"] for one in sets] == list(CATALOGUE)
    assert all(one["here"] is None for one in sets)


def test_import_says_what_it_took_and_how_it_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["data", "import", str(labelme_folder(tmp_path / "in")), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 images (1 train) from LabelMe" in said
    assert "organoids: 3 organoid" in said
    recipe = yaml.safe_load(said.partition("recipe:\n")[2])["data"]["labelled"]
    file, _, key = recipe["split"].partition("#")
    assert len(loaded(out, key)) == 1
    assert Path(file).is_file()
    assert Path(recipe["annotations"]).is_file()


def test_import_for_other_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "import", str(labelme_folder(tmp_path / "in")), "--out", str(tmp_path / "o")]
    assert main([*command, "--json", "--classes", "organoid", "--sides", "train"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["organoids"] == {"organoid": 3}
    assert facts["sides"] == {"train": 1}


def test_a_faulty_source_is_exit_3_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written.labelme(tmp_path / "in" / "a.json", "a.png")
    out = tmp_path / "out"
    assert main(["data", "import", str(tmp_path / "in"), "--out", str(out)]) == 3
    said = capsys.readouterr().err
    assert "labels of a missing image: a.png (a.json)" in said
    assert "what to do: Put the images beside their labels" in said
    assert not out.exists()


def test_a_public_set_is_imported_by_name_from_where_it_was_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    for seed, side in enumerate(("train", "val")):
        written.image(folder / side / "a_img.jpg", seed)
        written.label_image(folder / side / "a_masks_organoid.png")
    # Without its real file the set's own settings are asked for by --set.
    command = ["data", "import", str(folder), "--set", "OrgaSegment", "--out", str(tmp_path / "o")]
    assert main(command) == 0
    assert "1 train, 1 validation" in capsys.readouterr().out
    assert main(["data", "import", "m-orgaquant", "--out", str(tmp_path / "o2")]) == 3
    assert "cannot be downloaded by a program" in capsys.readouterr().err


def test_fetch_says_the_terms_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    assert main(["data", "fetch", "orgasegment"]) == 3
    said = capsys.readouterr().err
    assert said.index("licence: ") < said.index("ORGANOSEG_OFFLINE")
    assert main(["data", "fetch", "nothing"]) == 2


def test_every_action_has_an_example_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("list", "fetch", "import"):
        with pytest.raises(SystemExit):
            build_parser(["data"]).parse_args(["data", action, "--help"])
        assert "organoseg data " + action in capsys.readouterr().out.partition("example")[2]
