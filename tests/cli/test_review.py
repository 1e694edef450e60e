"""`organoseg review`, end to end on files."""

from __future__ import annotations

from pathlib import Path

import pytest

from organoseg.cli.main import main
from organoseg.review import ReviewSession
from tests.review.small import make_images, make_predictions


def test_open_status_export_pack_merge_and_find(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_images(tmp_path / "images", 3)
    run = make_predictions(tmp_path / "instances.json", 3)
    project, data = tmp_path / "P", tmp_path / "D"
    opening = ["review", "open", str(project), "--images", str(tmp_path / "images"), "-q"]
    assert main([*opening, "--predictions", str(run), "--group-pattern", r"(i\d)"]) == 0
    assert "0 of 3 images complete" in capsys.readouterr().out
    assert main(opening) == 2
    assert "something in this folder already" in capsys.readouterr().err
    with ReviewSession.open(project) as session:
        session.complete(accept_rest=True)
    assert main(["review", "export", str(project), "--to", str(data)]) == 0
    assert "1 images added" in capsys.readouterr().out
    bundle = tmp_path / "b.zip"
    assert main(["review", "pack", str(project), "--out", str(bundle)]) == 0
    assert main(["review", "open", str(tmp_path / "Q"), "--bundle", str(bundle)]) == 0
    with ReviewSession.open(tmp_path / "Q") as session:
        session.complete(accept_rest=True)
    assert main(["review", "merge", str(project), str(tmp_path / "Q")]) == 0
    assert "1 images taken over" in capsys.readouterr().out
    (tmp_path / "images").rename(tmp_path / "moved")
    assert main(["review", "status", str(project)]) == 0
    assert "review find" in capsys.readouterr().err
    assert main(["review", "find", str(project), str(tmp_path / "moved")]) == 0
    assert "every image is found" in capsys.readouterr().out
    assert main(["review", "status", str(tmp_path)]) == 3
