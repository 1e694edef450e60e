"""Training draws from an archive: never what is measured, the same for a seed, and past what is lost."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.kill_resume import differences, killed, run
from organoseg.archive import create_archive_from_images
from organoseg.archive.catalogue import Catalogue
from organoseg.cli.main import main
from organoseg.core import DataError, Image, UsageError, normalised
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.distill.views import STRONG, Geometry
from organoseg.training.archive_images import ArchiveImages
from organoseg.training.progress import silent
from organoseg.training.recipe import Data
from organoseg.training.run import train
from organoseg.training.unlabelled import open_unlabelled
from tests.training.tiny import recipe, write_recipe

GEOMETRY = Geometry(64, (0.75, 1.5))
COUNT = 100


def image(number: int) -> Image:
    """A small synthetic image; its group is one of four plates."""
    made = make_image(
        number, SyntheticSpec(size=72, count=(2, 3), radius=(8, 14)), name=f"{number}"
    )
    return Image(made.image.pixels, name=f"well_{number}.png", group=f"plate {number % 4}")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 100 images of one chunk each, read only."""
    out = tmp_path_factory.mktemp("archive") / "a.zarr"
    create_archive_from_images([image(100 + n) for n in range(COUNT)], out)
    return out


def opened(archive: Path, *measured: Image, **more: Any) -> ArchiveImages:
    """The archive as a recipe's data section gives it."""
    labelled = {"annotations": "labels.json", "images": "images"}
    data = Data.model_validate({"labelled": labelled, "unlabelled": archive, **more})
    found = open_unlabelled(data, 0, GEOMETRY, measured)
    assert isinstance(found, ArchiveImages)
    return found


def names(images: ArchiveImages, size: int, part: int = 0) -> list[str]:
    """The pictures of a draw."""
    return [images.read(number).name for number in images.draw(size, part)]


def test_a_pool_shows_different_pictures_and_another_part_draws_anew(stored: Path) -> None:
    images = opened(stored)
    first, second = names(images, 30), names(images, 30, part=1)
    assert len(set(first)) == len(set(second)) == 30
    assert set(first) != set(second)
    assert first == names(opened(stored), 30)
    assert len(set(names(images, 1000))) == COUNT == len(images)


def test_a_small_picture_is_whole_and_normalised_as_labelled_images_are(stored: Path) -> None:
    images = opened(stored)
    picture = images.read(images.draw(1, 0)[0])
    number = int(picture.name.removeprefix("well_").removesuffix(".png"))
    assert np.array_equal(picture.pixels, normalised(image(number).plane()))


def test_measured_images_and_their_twins_are_never_drawn(tmp_path: Path) -> None:
    twin = Image(image(3).pixels, name="a copy.png", group="elsewhere")
    out = tmp_path / "a.zarr"
    # The archive leaves twins out by itself; two stores in one catalogue do not.
    create_archive_from_images([image(n) for n in range(6)], out)
    create_archive_from_images([twin, image(9)], tmp_path / "b.zarr")
    both = tmp_path / "lab.sqlite"
    assert main(["archive", "index", str(out), str(tmp_path / "b.zarr"), "--out", str(both)]) == 0
    seen = names(opened(both, image(3)), 100)
    assert sorted(seen) == [f"well_{n}.png" for n in (0, 1, 2, 4, 5, 9)]
    with pytest.raises(DataError, match="may be drawn from"):
        opened(both, *(image(n) for n in (0, 1, 2, 3, 4, 5, 9)))


def test_groups_kept_for_tests_and_names_not_preferred_are_never_drawn(stored: Path) -> None:
    kept = opened(stored, sampling={"exclude_groups": ["plate 1", "plate 2"]})
    drawn = [int(n[5:-4]) % 4 for n in names(kept, 1000)]
    assert set(drawn) == {0, 3}
    assert set(names(opened(stored, prefer=["_10", "_111"]), 1000)) == {
        *(f"well_{n}.png" for n in range(100, 110)),
        "well_111.png",
    }
    with pytest.raises(UsageError, match="no group 'plate 9'"):
        opened(stored, sampling={"exclude_groups": ["plate 9"]})
    with pytest.raises(DataError, match="has moon in its name"):
        opened(stored, prefer=["moon"])


def test_what_is_drawn_from_is_part_of_a_runs_identity_and_where_it_lies_is_not(
    stored: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(stored, tmp_path / "moved.zarr")
    whole = opened(stored)
    assert opened(moved).identity == whole.identity
    assert opened(stored, image(101)).identity != whole.identity
    assert opened(stored, prefer=["_10"]).identity != whole.identity


def test_an_archive_that_was_moved_is_read_where_it_is(stored: Path, tmp_path: Path) -> None:
    first = shutil.copytree(stored, tmp_path / "first.zarr")
    (first / "images" / "00000004" / "0" / "c" / "0" / "0").unlink()
    assert main(["archive", "check", str(first), "--quarantine"]) == 3
    first.rename(tmp_path / "second.zarr")
    there = opened(tmp_path / "second.zarr")
    assert there.lost == 1
    assert len(set(names(there, 1000))) == COUNT - 1
    # Indexed again (3: a chunk is lost), it is still the store that the catalogue knows.
    assert main(["archive", "index", str(tmp_path / "second.zarr")]) == 3
    assert len(Catalogue.open(tmp_path / "second.zarr").stores) == 1


def test_batches_are_a_function_of_the_step(stored: Path) -> None:
    feed = opened(stored).feed(3, GEOMETRY, STRONG)
    batches = [feed(step) for step in range(4)]
    again = opened(stored).feed(3, GEOMETRY, STRONG)
    for step in (2, 3, 0):
        batch = again(step)
        assert batch.weak.shape == batch.strong.shape == (3, 1, 64, 64)
        assert batch.weak.equal(batches[step].weak)
        assert batch.strong.equal(batches[step].strong)
        assert bool(batch.strong.isfinite().all())
    feed.close()
    again.close()


def test_an_archive_without_a_catalogue_says_how_to_make_one(stored: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(stored, tmp_path / "a.zarr")
    (bare / "catalogue.sqlite").unlink()
    with pytest.raises(DataError, match="organoseg archive index"):
        opened(bare)


def spoil(archive: Path) -> int:
    """Damage one chunk in a hundred: a flipped bit here, a missing file there."""
    chunks = sorted((archive / "images").glob("*/0/c/0/0"))
    hurt = chunks[7::100]
    for chunk in hurt:
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 4
        chunk.write_bytes(data)
    return len(hurt)


def guided(data: Path, archive: Path, **method: Any) -> dict[str, Any]:
    """The tiny guided run on an archive."""
    tree = recipe(data, method={"teacher_steps": 2, **method})
    tree["data"]["unlabelled"] = str(archive)
    return tree


@pytest.mark.parametrize("checked", [False, True])
def test_a_run_on_a_damaged_archive_ends_well_and_counts_what_is_lost(
    stored: Path, data: Path, tmp_path: Path, checked: bool
) -> None:
    archive = shutil.copytree(stored, tmp_path / "a.zarr")
    injected = spoil(archive)
    if checked:
        assert main(["archive", "check", str(archive), "--quarantine"]) == 3
        with (archive / "quarantine.csv").open(newline="") as file:
            assert len(list(csv.reader(file))) == 1 + injected
    # Without a check the run meets the damage itself, once it has drawn everywhere.
    path = write_recipe(tmp_path / "r.yaml", guided(data, archive, pool=COUNT, pool_zooms=[1.0]))
    warnings: list[str] = []

    def note(event: str, facts: Any) -> None:
        if event == "warning":
            warnings.append(facts["text"])

    result = train(path, tmp_path / "run", reporter=note)
    assert json.loads((result.out / "result.json").read_text())["lost_chunks"] == injected
    assert any(f"{injected} chunks of the archive are lost" in text for text in warnings)
    lines = [json.loads(x) for x in (result.out / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(x["loss"]) for x in lines if x["kind"] == "train")


@pytest.mark.parametrize("pool", [3, 0])
def test_killed_and_resumed_on_an_archive_the_weights_have_the_same_bits(
    stored: Path, data: Path, tmp_path: Path, pool: int
) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", guided(data, stored, pool=pool))
    if pool:
        assert run(path, tmp_path / "whole", None)
    else:
        train(path, tmp_path / "whole", reporter=silent)
    killed(path, tmp_path / "run", [5, 11])
    assert differences(tmp_path / "whole", tmp_path / "run") == []
