"""What a run shows while it trains: the right figure, an interval around it, and pictures that can be opened."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from organoseg.core import Instances
from organoseg.dataset import LabelledDataset
from organoseg.dataset.synthetic import SyntheticSpec, make_dataset
from organoseg.training import preview

SPEC = SyntheticSpec(size=96, count=(3, 5), radius=(8, 20))


class Oracle(torch.nn.Module):
    """Finds in the k-th image what it was told to find there."""

    max_instances = 100

    def __init__(self, answers: list[Instances]) -> None:
        super().__init__()
        self.answers: Iterator[Instances] = iter(answers)

    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        return [next(self.answers) for _ in pixels]


@pytest.fixture(scope="module")
def held_out() -> LabelledDataset:
    return make_dataset(3, 5, SPEC)


def seen(dataset: LabelledDataset, found: list[Instances]) -> preview.Look:
    return preview.look(Oracle(found), dataset, torch.device("cpu"))


def test_perfect_answers_have_ap_1_and_no_doubt(held_out: LabelledDataset) -> None:
    facts = seen(held_out, [item.instances for item in held_out]).facts()
    assert facts == pytest.approx({"AP": 1.0, "AP_low": 1.0, "AP_high": 1.0})


def test_the_interval_holds_the_figure_and_is_wide_where_images_differ(
    held_out: LabelledDataset,
) -> None:
    found = [item.instances for item in held_out]
    found[0] = found[0].select(np.zeros(len(found[0]), bool))
    facts = seen(held_out, found).facts()
    assert facts["AP_low"] <= facts["AP"] <= facts["AP_high"]
    assert facts["AP_high"] - facts["AP_low"] > 0.1


def test_images_without_organoids_give_no_figure_but_pictures(tmp_path: Path) -> None:
    bare = make_dataset(3, 2, SyntheticSpec(size=96, count=(0, 0)))
    look = seen(bare, [item.instances for item in bare])
    assert look.facts() == {}
    assert preview.write_samples(tmp_path, 7, look).name == "step-000007.png"


def test_the_pictures_are_the_same_images_from_sparse_to_crowded(
    held_out: LabelledDataset, tmp_path: Path
) -> None:
    look = seen(held_out, [item.instances for item in held_out])
    counts = [len(row.truth) for row in look.rows]
    everywhere = [len(item.instances) for item in held_out]
    assert len(counts) == 3
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (min(everywhere), max(everywhere))
    with Pillow.open(preview.write_samples(tmp_path, 200, look)) as picture:
        assert picture.width > 3 * 96
