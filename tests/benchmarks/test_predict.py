"""What the benchmark of `predict` makes of its measurements."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow

from benchmarks.predict import chosen_images, slope_mb, table
from benchmarks.tracking import LinkScore, score
from organoseg.core import DataError


def test_the_slope_is_taken_after_memory_has_settled_and_no_peak_bends_it() -> None:
    growing = [(done, 300.0 + 0.02 * done) for done in range(1, 1001)]
    assert slope_mb(growing) == pytest.approx(20)
    loading = [(done, 100.0 + done if done < 200 else 300.0) for done in range(1, 1001)]
    assert slope_mb(loading) == pytest.approx(0)
    peaks = [(done, 300.0 + 500 * (done % 50 == 0)) for done in range(1, 1001)]
    assert slope_mb(peaks) == pytest.approx(0)


def test_images_are_taken_evenly_and_too_few_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(9):
        Pillow.new("L", (8, 8)).save(folder / f"{number}.png")
    chosen = chosen_images(folder, 3, tmp_path / "out")
    assert [path.name for path in chosen] == ["0.png", "4.png", "8.png"]
    with pytest.raises(DataError, match="10 images"):
        chosen_images(folder, 10, tmp_path / "more")


def test_a_table_of_one_part_has_its_rows_only() -> None:
    result = {
        "large": {"shape": [5200, 5200], "seconds": 20.0, "large_mb": 900.0},
        "write": "csv",
        "threads": 2,
        "model": "m",
        "command": "python benchmarks/predict.py",
        "machine": dict.fromkeys(("processor", "cores", "python", "torch", "commit"), "x"),
    }
    assert "5200x5200: peak memory | 900 MB" in table(result)
    assert "OrganoID" not in table(result)


def test_links_are_right_when_both_ends_are_one_organoid_in_a_row() -> None:
    names = [[1, 2], [2, 1], [0, 1]]
    right = [[(0, 0), (1, 1), (2, 1)], [(0, 1), (1, 0)], [(2, 0)]]
    assert score(names, right) == LinkScore(3, 3, 3)
    # Crossed in the middle, linked with an invented one, and one frame too far.
    wrong = [[(0, 0), (1, 0), (2, 0)], [(0, 1), (2, 1)], [(1, 1)]]
    assert score(names, wrong) == LinkScore(3, 3, 0)
    assert (LinkScore().recall, LinkScore(4, 2, 1).precision) == (1.0, 0.5)
