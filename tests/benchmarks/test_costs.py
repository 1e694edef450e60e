"""What trainings cost, as the table tells it."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.costs import cost_of, cost_table, minutes_to
from benchmarks.figures import Row


def run_folder(folder: Path, seconds: dict[str, Any], curve: list[tuple[int, float]]) -> Path:
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"seconds": seconds}))
    lines = [{"step": s, "kind": "validation", "AP": ap} for s, ap in curve]
    lines.insert(0, {"step": 10, "kind": "train", "loss": 1.0})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def row(name: str, cost: dict[str, Any]) -> Row:
    return Row(15, name, ({"training_seed": 0, "student": {"AP": 0.5}, "cost": cost},), ())


def seconds(**stages: float) -> dict[str, Any]:
    crops = {name: 8 / value for name, value in stages.items()}
    return {"step_seconds": stages, "images_per_second": crops, "waiting_share": 0.01, "train": 9}


def test_a_guided_step_is_held_against_the_supervised_one_of_the_same_labels(
    tmp_path: Path,
) -> None:
    plain = cost_of(run_folder(tmp_path / "a", seconds(teacher=0.5), []))
    guided = cost_of(run_folder(tmp_path / "b", seconds(burn_in=0.9, mutual=1.2), []))
    table = cost_table([row("supervised", plain), row("guided", guided)])
    assert table is not None
    assert "| 15 | guided | .500 | 1200 | 2.40x | 6.7 | 1.0 % | - | - | - | - |" in table


def test_the_time_to_accuracy_is_when_it_stays_there(tmp_path: Path) -> None:
    curve = [(100, 0.2), (200, 0.58), (300, 0.4), (400, 0.59), (500, 0.6)]
    cost = cost_of(run_folder(tmp_path / "a", seconds(teacher=0.6), curve))
    assert minutes_to(cost) == pytest.approx(400 * 0.6 / 60)


@pytest.mark.parametrize("curve", [[], [(100, 0.0), (200, 0.0)]])
def test_without_accuracy_there_is_no_time_to_it(
    tmp_path: Path, curve: list[tuple[int, float]]
) -> None:
    cost = cost_of(run_folder(tmp_path / "a", seconds(teacher=0.6), curve))
    assert minutes_to(cost) is None


def test_runs_of_earlier_versions_have_no_table() -> None:
    assert cost_table([row("supervised", {})]) is None
