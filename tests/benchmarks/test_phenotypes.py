"""The world of three phenotypes, and the figures that are taken of it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.phenotypes import PHENOTYPES, few, figures_of, make_world, recipe_tree, table
from organoseg.dataset import load_coco
from organoseg.training.methods import ClassAgnostic
from organoseg.training.recipe import parse_recipe


@pytest.mark.parametrize("seed", [0, 1])
def test_there_are_exactly_five_labelled_organoids_of_each_phenotype(seed: int) -> None:
    items = few(seed, 5)
    classes = np.concatenate([item.instances.classes for item in items])
    assert {c: int((classes == c).sum()) for c in PHENOTYPES} == dict.fromkeys(PHENOTYPES, 5)
    for item in items:  # the class is what was drawn
        kinds = [f"synthetic {PHENOTYPES[int(c)]}" for c in item.instances.classes]
        assert tuple(kinds) == item.instances.sources


def test_archive_test_and_labels_share_no_image(tmp_path: Path) -> None:
    make_world(tmp_path, 0, 1, 3, 2)
    labelled, test = (
        load_coco(tmp_path / f"{n}.json", tmp_path / "images") for n in ("labelled", "test")
    )
    assert labelled.classes == test.classes == PHENOTYPES
    files = [*(tmp_path / "images").iterdir(), *(tmp_path / "archive").iterdir()]
    assert len(files) == len({f.name for f in files}) == len(labelled) + 2 + 3
    assert len({f.read_bytes() for f in files}) == len(files)


def test_an_organoid_of_the_wrong_class_is_found_but_not_told() -> None:
    (item, *_) = [i for i in few(0, 5) if len(i.instances) > 3]
    truth = {"a": item.instances}
    perfect = figures_of(truth, truth)
    assert perfect["AP"] == perfect["without"] == perfect["told"] == 1
    swapped = item.instances.classes % 3 + 1
    confused = figures_of({"a": item.instances.replace(classes=swapped)}, truth)
    assert confused["without"] == 1
    assert confused["AP"] < 0.5
    assert confused["told"] == 0
    # Told as both of two classes: right once in each, and one organoid all the same.
    both = item.instances.union(item.instances.replace(classes=swapped))
    assert figures_of({"a": both}, truth)["without"] == 1


def test_variants_take_the_labeller_of_the_plain_method(tmp_path: Path) -> None:
    args = Namespace(out=tmp_path, steps=40, threads=1, encoder_weights=None)
    plain, variant = (
        parse_recipe(recipe_tree(tmp_path, name, 1, args)).method
        for name in ("class_agnostic", "class_agnostic+predictor=copied+trunk_share=0")
    )
    assert isinstance(plain, ClassAgnostic)
    assert isinstance(variant, ClassAgnostic)
    assert (plain.teacher, plain.save_labeller) == (None, True)
    assert variant.teacher == tmp_path / "class_agnostic" / "seed-1" / "labeller"
    assert (variant.predictor, variant.trunk_share) == ("copied", 0)


def test_a_row_is_a_mean_over_seeds_with_its_spread() -> None:
    figures = {
        "sphere": 0.5,
        "cyst": 0.25,
        "bud": 0.0,
        "without": 0.75,
        "told": 0.5,
        "seconds": 90.0,
    }
    runs = [{"method": "supervised", "seed": s, "AP": 0.2 + 0.2 * s, **figures} for s in (0, 1)]
    machine = {"processor": "p", "cores": 1, "python": "3", "torch": "2", "commit": "c"}
    text = table({"runs": runs, "labels": 5, "images": [4, 5], "archive": 9, "test": 8, "steps": 7,
                  "machine": machine, "command": "python x"})  # fmt: skip
    assert "| supervised | .300 (.200 to .400) | .500 | .250 | .000 | .750 | .500 | 90 |" in text
    assert "in 4 to 5 images" in text
