"""How a batch is divided among what a GPU holds, and whether an engine has enough queries."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from organoseg.core import RunError, UsageError
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.distill.views import Geometry
from organoseg.models.precision import training_precision
from organoseg.training.crowding import check_queries, most_crowded, resolve_queries
from organoseg.training.memory import Need, parts_of
from organoseg.training.recipe import Recipe, parse_recipe

GB = 10**9
CUDA = torch.device("cuda")


def need(crop: float = 1.0) -> Callable[[], Need]:
    return lambda: Need.of(round((2 + crop) * GB), round((2 + 2 * crop) * GB), GB)


@pytest.mark.parametrize(
    ("free", "parts"), [(200, 1), (32 * 1.2 + 8, 1), (30, 2), (15, 4), (5, 16)]
)
def test_a_batch_is_computed_in_as_few_parts_as_fit(free: float, parts: int) -> None:
    # 3 GB whatever the batch and 1 GB a crop; 16 labelled and 16 unlabelled ones are held together.
    found, said = parts_of("auto", [16, 16], CUDA, need(), lambda: round(free * GB))
    assert found == parts
    assert said is not None
    assert f"{parts} parts" in said


def test_a_gpu_without_room_for_one_crop_is_told_what_helps() -> None:
    with pytest.raises(RunError, match=r"4\.0 GB.*3\.0 GB free.*checkpointing"):
        parts_of("auto", [4], CUDA, need(), lambda: 3 * GB)


def test_a_probe_that_runs_out_of_memory_falls_back_to_one_crop_at_a_time() -> None:
    def full() -> Need:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    found, said = parts_of("auto", [6, 3], CUDA, full, lambda: GB)
    assert found == 6
    assert said is not None


def test_what_the_recipe_says_is_done_and_a_processor_needs_no_parts() -> None:
    assert parts_of(3, [4], CUDA, need(), lambda: GB) == (3, None)
    assert parts_of("auto", [4], torch.device("cpu"), need(), lambda: GB) == (1, None)


def test_fp16_is_for_gpus() -> None:
    assert training_precision("fp16", CUDA) == "fp16"
    assert training_precision("fp32", CUDA) == "no"
    with pytest.raises(UsageError, match="fp16 is for GPUs"):
        training_precision("fp16", torch.device("cpu"))


# -- queries ---------------------------------------------------------------------------------


class Queries(nn.Module):
    """An engine of so many queries."""

    def __init__(self, queries: Any) -> None:
        super().__init__()
        self.options = {"queries": queries}


def chosen(queries: Any = None, crop: int = 128) -> Recipe:
    options = {} if queries is None else {"queries": queries}
    return parse_recipe(
        {
            "data": {"labelled": {"annotations": "a.json", "images": "i"}},
            "model": {"engine": "mask2former", "options": options},
            "training": {"augmentation": {"crop": crop, "scale": [1.0, 1.5]}},
        }
    )


ITEMS = [make_image(n, SyntheticSpec(size=128, count=(9, 12), radius=(4, 8))) for n in range(3)]
MOST = max(len(item.instances) for item in ITEMS)


def test_the_most_crowded_crop_is_counted_and_smaller_crops_hold_fewer() -> None:
    assert most_crowded(ITEMS, Geometry(128, (1.0, 1.5)), 0) == MOST
    assert 0 < most_crowded(ITEMS, Geometry(32, (1.0, 1.5)), 0) < MOST
    assert most_crowded(ITEMS, Geometry(64, (0.1, 2.0), jitter=True), 0) == MOST


def test_auto_is_twice_the_most_crowded_crop_and_a_hundred_at_least() -> None:
    assert resolve_queries(chosen("auto"), ITEMS).model.options["queries"] == 100
    many = ITEMS[0].instances
    for _ in range(6):
        many = many.union(many)
    full = replace(ITEMS[0], instances=many)
    found = resolve_queries(chosen("auto"), [full]).model.options["queries"]
    assert found == 2 * len(many)
    assert resolve_queries(chosen(7), ITEMS) == chosen(7)


def test_too_few_queries_are_refused_and_few_are_warned_of_with_the_figures() -> None:
    with pytest.raises(UsageError, match=rf"shows {MOST} organoids, and {MOST - 1} queries"):
        check_queries(Queries(MOST - 1), chosen(), ITEMS)
    said = check_queries(Queries(2 * MOST - 1), chosen(), ITEMS)
    assert said is not None
    assert f"{MOST} organoids" in said
    assert f"{2 * MOST} or more" in said
    assert check_queries(Queries(2 * MOST), chosen(), ITEMS) is None
    assert check_queries(nn.Linear(1, 1), chosen(), ITEMS) is None
