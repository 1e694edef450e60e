"""A data set that grows by corrections: no leak, nothing twice, nothing lost when killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import organoseg.dataset.growing as growing
from organoseg.core import DataError, Image, Instances, Mask, UsageError, pixel_hash
from organoseg.dataset import LabelledImage, Split, few_label_split, load_coco
from organoseg.dataset.growing import Addition, HeldOut, file_name, grow

SHAPE = (12, 16)
WHOLE = Mask(0, 0, np.ones(SHAPE, bool))


def picture(number: int, group: str = "", name: str = "") -> Image:
    pixels = np.random.default_rng(number).integers(0, 65535, SHAPE, dtype=np.uint16)
    return Image(pixels, pixel_size=(0.5, 0.5), name=name or f"{number}.tif", group=group)


def addition(image: Image, organoids: int = 1, part: bool = False, origin: str = "A") -> Addition:
    masks = [Mask(1 + k, 2, np.ones((4, 5), bool)) for k in range(organoids)]
    ignored = Mask(0, 8, np.ones((12, 8), bool)) if part else None
    item = LabelledImage(image, Instances.from_masks(SHAPE, masks), ignored)
    facts = {k: {"reviewer": "Ada", "number": k} for k in range(1, organoids + 1)}
    return Addition(item, origin, {"model": "m"}, facts)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_it_can_be_trained_on(tmp_path: Path) -> None:
    more = [addition(picture(k, f"plate/{k // 2}"), 1 + k % 3, part=k == 0) for k in range(10)]
    report = grow(tmp_path, more, {1: "organoid"}, validation=0.3)
    assert len(report.added) == 10
    assert report.train + report.validation == 10
    assert report.validation in (2, 3, 4)
    train = few_label_split(tmp_path / "subsets.json", "train")
    data = load_coco(tmp_path / "labels.json", tmp_path / "images", train)
    by_pixels = {pixel_hash(a.item.image.pixels): a for a in more}
    for item in data:
        made = by_pixels[item.image.identity]
        assert item.image.pixel_size == pytest.approx((0.5, 0.5))
        assert np.array_equal(item.instances.to_dense(), made.item.instances.to_dense())
        assert (item.ignored is None) == (made.item.ignored is None)
    lines = [json.loads(x) for x in (tmp_path / "provenance.jsonl").read_text().splitlines()]
    organoids = [x for x in lines if "annotation" in x]
    assert len(organoids) == sum(len(a.item.instances) for a in more)
    entries = json.loads((tmp_path / "labels.json").read_text())["annotations"]
    ids = {e["id"] for e in entries if not e["iscrowd"]}
    assert {x["annotation"] for x in organoids} == ids
    assert all(x["reviewer"] == "Ada" for x in organoids)


def test_twice_adds_nothing(tmp_path: Path) -> None:
    more = [addition(picture(k, f"g{k}")) for k in range(4)]
    grow(tmp_path, more, {1: "organoid"})
    before = contents(tmp_path)
    report = grow(tmp_path, more, {1: "organoid"})
    assert len(report.unchanged) == 4
    assert not report.added
    assert not report.updated
    assert contents(tmp_path) == before


def test_a_second_look_replaces_the_first(tmp_path: Path) -> None:
    images = [picture(k, f"g{k}") for k in range(3)]
    grow(tmp_path, [addition(i, part=True) for i in images], {1: "organoid"})
    sides = Split.load(tmp_path / "split.json").sides
    report = grow(tmp_path, [addition(images[1], organoids=3)], {1: "organoid"})
    assert len(report.updated) == 1
    data = load_coco(tmp_path / "labels.json", tmp_path / "images")
    assert [len(item.instances) for item in data] == [1, 3, 1]
    assert [item.ignored is None for item in data] == [False, True, False]
    assert Split.load(tmp_path / "split.json").sides == sides
    lines = [json.loads(x) for x in (tmp_path / "provenance.jsonl").read_text().splitlines()]
    numbers = [x["annotation"] for x in lines if "annotation" in x]
    assert len(set(numbers)) == len(numbers) == 5


def test_refused(tmp_path: Path) -> None:
    test_image = picture(50, "plate/test", "truth.tif")
    held = HeldOut([test_image])
    more = [
        addition(picture(1, "g1")),
        addition(picture(1, "g1", "copy.tif"), origin="B"),
        addition(picture(1, "other group", "copy.tif")),
        addition(picture(50, "g5", "renamed.tif")),
        addition(picture(51, "plate/test", "neighbour.tif")),
    ]
    report = grow(tmp_path, more, {1: "organoid"}, held_out=held)
    assert len(report.added) == 1
    words = dict(report.refused[1:])
    assert "another review" in report.refused[0][1]
    assert "of group 'g1'" in words["copy.tif"]
    assert words["renamed.tif"] == "it is the held-out image truth.tif"
    assert words["neighbour.tif"] == "its group 'plate/test' is held out"
    with pytest.raises(UsageError, match="share"):
        grow(tmp_path, [], {1: "organoid"}, validation=1.0)
    with pytest.raises(DataError, match="Class 1 is 'organoid'"):
        grow(tmp_path, more, {1: "cyst"})


def test_parts_never_measure(tmp_path: Path) -> None:
    """An incomplete image of a held-out group waits; the group does not change its side."""
    first = [addition(picture(k, f"g{k}")) for k in range(4)]
    report = grow(tmp_path, first, {1: "organoid"}, validation=0.3)
    assert report.validation
    split = Split.load(tmp_path / "split.json")
    held = split.groups[split.names("validation")[0]]
    late = picture(20, held)
    report = grow(tmp_path, [addition(late, part=True)], {1: "organoid"}, validation=0.3)
    assert report.resting == report.added
    subsets = json.loads((tmp_path / "subsets.json").read_text())
    assert report.added[0] not in subsets["train"] + subsets["validation"]
    report = grow(tmp_path, [addition(late)], {1: "organoid"}, validation=0.3)
    assert report.updated[0] in json.loads((tmp_path / "subsets.json").read_text())["validation"]


def test_a_damaged_set_is_told(tmp_path: Path) -> None:
    grow(tmp_path, [addition(picture(1))], {1: "organoid"})
    (tmp_path / "provenance.jsonl").write_text("{nonsense\n")
    with pytest.raises(DataError, match=r"provenance\.jsonl is missing or damaged"):
        grow(tmp_path, [], {1: "organoid"})
    (tmp_path / "provenance.jsonl").write_text("")
    with pytest.raises(DataError, match="lack their lines"):
        grow(tmp_path, [], {1: "organoid"})


@pytest.mark.parametrize("step", range(6))
def test_killed_and_done_again(tmp_path: Path, step: int, monkeypatch: Any) -> None:
    """Whichever file was not written any more: growing again ends where an undisturbed one does."""
    once = [addition(picture(k, f"g{k}")) for k in range(2)]
    more = [addition(picture(0, "g0"), organoids=2), *[addition(picture(k, "g5")) for k in (7, 8)]]
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        grow(folder, once, {1: "organoid"})
    grow(tmp_path / "whole", more, {1: "organoid"})

    class Killed(BaseException):
        pass

    left = [step]

    def dying(write: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return write(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("write_plane", "write_text", "write_instances", "write_json"):
            patch.setattr(growing, name, dying(getattr(growing, name)))
        patch.setattr(growing.Split, "save", dying(growing.Split.save))
        with pytest.raises(Killed):
            grow(tmp_path / "killed", more, {1: "organoid"})
    grow(tmp_path / "killed", more, {1: "organoid"})
    names = ("split.json", "subsets.json")
    for name in names:
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()
    both = [
        load_coco(tmp_path / f / "labels.json", tmp_path / f / "images")
        for f in ("whole", "killed")
    ]
    for a, b in zip(*both, strict=True):
        assert a.name == b.name
        assert np.array_equal(a.instances.to_dense(), b.instances.to_dense())


@st.composite
def manifests(
    draw: st.DrawFn,
) -> tuple[list[list[tuple[int, int, bool]]], list[tuple[int, int]], float]:
    """Rounds of (picture, group, outlined in part), held-out (picture, group), and the share."""
    entry = st.tuples(st.integers(0, 12), st.integers(0, 5), st.booleans())
    rounds = draw(st.lists(st.lists(entry, max_size=6), min_size=1, max_size=3))
    held = draw(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 7)), max_size=3))
    return rounds, held, draw(st.sampled_from([0.0, 0.2, 0.5, 0.9]))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(manifests())
def test_nothing_leaks(tmp_path_factory: Any, manifest: Any) -> None:
    """No group and no picture on two sides, whatever is added in whatever order; held-out ones on none."""
    rounds, held, share = manifest
    folder = tmp_path_factory.mktemp("grown")
    out = HeldOut(picture(n, f"group {g}") for n, g in held)
    for number, entries in enumerate(rounds):
        more = [
            addition(picture(n, f"group {g}", f"{n}-{g}.tif"), part=part, origin=str(number % 2))
            for n, g, part in entries
        ]
        grow(folder, more, {1: "organoid"}, share, out)
    if not (folder / "labels.json").exists():
        return
    subsets = json.loads((folder / "subsets.json").read_text())
    lines = [json.loads(x) for x in (folder / "provenance.jsonl").read_text().splitlines()]
    rows = {x["file"]: x for x in lines if "annotation" not in x}
    for key in ("group", "identity"):
        train, measured = ({rows[n][key] for n in subsets[s]} for s in ("train", "validation"))
        assert not train & measured
    used = [rows[n] for n in subsets["train"] + subsets["validation"]]
    assert not {r["identity"] for r in used} & set(out.identities)
    assert not {r["group"] for r in used} & out.groups
    assert len({r["identity"] for r in used}) == len(used)
    assert all(rows[n]["complete"] for n in subsets["validation"])
    if share == 0:
        assert not subsets["validation"]


def test_file_names_stay_inside() -> None:
    image = picture(1, "../../etc", "../../passwd .tif")
    assert file_name(image) == f"etc/passwd-{image.identity[:12]}.tif"
    assert file_name(picture(1, "", "...")) == f"images/image-{image.identity[:12]}.tif"
