"""The table of teacher and fast student: recipes that can be read, and a block that says what was measured."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fast_student import ROWS, Bench, difference, student_table
from benchmarks.testset import TestSet
from organoseg.core import Instances
from organoseg.training.methods import FastStudent, Supervised
from organoseg.training.recipe import parse_recipe


def bench(tmp_path: Path) -> Bench:
    args = argparse.Namespace(
        data=tmp_path, out=tmp_path / "out", teacher=tmp_path / "model", archive=None, labelled=15,
        steps=300, width=32, threads=1, encoder_weights=None, thorough_teacher=True,
    )  # fmt: skip
    return Bench(args, TestSet(tmp_path, tmp_path, ("a",)))


@pytest.mark.parametrize("row", ROWS)
def test_every_row_is_a_recipe_of_its_own(tmp_path: Path, row: str) -> None:
    made = bench(tmp_path)
    recipe = parse_recipe(made.recipe(row, 2))
    method = recipe.method
    assert recipe.seed == 2
    assert recipe.model.options == {"width": 32}
    if row == "labels":
        assert isinstance(method, Supervised)
        return
    assert isinstance(method, FastStudent)
    assert (method.zero_order > 0) == ("L_p" in row)
    assert (method.first_order > 0) == ("L_c" in row)
    assert (recipe.data.unlabelled is not None) == ("archive" in row)
    assert len(method.teacher_zooms) == 4
    folders = {made.folder(name, seed) for name in ROWS for seed in (0, 1)}
    assert len(folders) == 2 * len(ROWS)


def test_the_table() -> None:
    figures = {"AP": 0.5, "AP50": 0.8, "AP75": 0.6}
    student = {
        "parameters": 2_030_000, "torch": figures, "ONNX": figures,
        "8 bits": {**figures, "AP": 0.49}, "bytes": {"ONNX": 8e6, "8 bits": 2e6},
        "difference": {"unpaired": 0, "score": 1e-6, "iou": 1.0},
    }  # fmt: skip
    other = {**student, "torch": {**figures, "AP": 0.7}}
    text = student_table(
        {
            "teacher": {"one look": {"parameters": 2e6, "torch": figures}},
            "students": {"labels": [student, other]},
            "times": {"teacher": 40.0, "student": 20.0},
            "images": 40,
            "settings": {
                "labelled": 15, "steps": 300, "width": 32, "threads": 1, "split": "validation",
                "thorough_teacher": False,
            },
            "command": "python benchmarks/fast_student.py",
            "machine": {
                "processor": "p", "cores": 2, "python": "3", "torch": "2", "commit": "c", "gpu": None,
            },
        }
    )  # fmt: skip
    assert "| teacher, one look | 1 | 2.00 M | .500 | .800 | .600 | - |" in text
    assert "| student, labels | 2 | 2.03 M | .600 | .800 | .600 | .490 |" in text
    assert "| student | 20 | 2.0x |" in text
    assert "8.0 MB" in text


def test_of_two_answers_with_one_mask_each_is_the_partner_of_the_one_with_its_score() -> None:
    mask = np.zeros((2, 8, 8), bool)
    mask[:, 2:5, 2:5] = True
    twice = Instances.from_dense(mask, scores=np.array([0.9, 0.4], np.float32))
    assert difference({"a": twice}, {"a": twice}) == {"unpaired": 0, "score": 0.0, "iou": 1.0}
