"""Joint files for programs: exact, streamed, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from organoseg.core import DataError, Instances, Mask
from organoseg.inference.part import Part
from organoseg.inference.writers import facts_of, run_facts, write_csv, write_errors, write_json
from organoseg.inference.writers.facts import HIDDEN
from organoseg.io import read_instances
from tests.core.strategies import same
from tests.inference.writers.cases import CLASSES, apart, difficult, disc, part, result


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_masks_and_numbers_of_a_run_come_back_exactly(tmp_path: Path) -> None:
    numbered = difficult().replace(ids=np.arange(40, 27, -1))
    made = [
        result(numbered, "a/x.tif"),
        result(apart(), "b/x.tif"),
        result(Instances.empty((7, 8)), "c.tif"),
    ]
    write_json(tmp_path / "instances.json", (part(r, tmp_path) for r in made), CLASSES)
    read = read_instances(tmp_path / "instances.json")
    assert list(read) == ["a/x.tif", "b/x.tif", "c.tif"]
    assert all(same(read[r.key], r.instances) for r in made)


def test_a_class_without_a_name_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    made = part(result(apart()), tmp_path)
    with pytest.raises(DataError, match="Classes"):
        write_json(tmp_path / "out" / "instances.json", [made], {7: "x"})
    assert list((tmp_path / "out").iterdir()) == []


def test_the_table_has_a_row_an_organoid_with_its_place(tmp_path: Path) -> None:
    fields = {"plate": "P1", "well": "B07", "t": "3", "series": "s"}
    made = [
        result(difficult(), "a.tif", fields=fields),
        result(apart(), "=cmd|' /C calc'!A0", pixel_size=None),
    ]
    write_csv(tmp_path / "m.csv", (part(r, tmp_path) for r in made))
    table = rows(tmp_path / "m.csv")
    assert [int(row["id"]) for row in table] == [*difficult().ids, *apart().ids]
    first, last = table[0], table[-1]
    assert (first["plate"], first["well"], first["time"], first["site"]) == ("P1", "B07", "3", "")
    assert (first["class"], table[1]["class"]) == ("organoid", "cyst")
    assert float(first["area_um2"]) == int(first["area_px"]) / 4
    assert first["feret_um"]
    assert last["image"] == "'=cmd|' /C calc'!A0"
    assert (last["area_um2"], last["well"]) == ("", "")


def test_facts_say_where_a_label_image_hides_an_organoid() -> None:
    nested = Instances.from_masks((60, 60), [disc(20, 30, 30), disc(5, 30, 30)], scores=[0.9, 0.8])
    assert facts_of(result(nested, warnings=("old",)))["warnings"] == ["old", HIDDEN]
    seen = nested.replace(scores=[0.8, 0.9])
    assert facts_of(result(seen))["warnings"] == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=1", "＝1"])
def test_no_cell_is_run_as_a_formula(tmp_path: Path, text: str) -> None:
    write_errors(tmp_path / "errors.csv", [(text, f'{text}, it says "no"')])
    (row,) = rows(tmp_path / "errors.csv")
    assert row["file"] == f"'{text}"
    assert row["reason"] == f'\'{text}, it says "no"'


def test_names_that_are_no_text_are_written_all_the_same(tmp_path: Path) -> None:
    bad = b"f\xff.tif".decode("utf-8", "surrogateescape")
    write_errors(tmp_path / "errors.csv", [(bad, "empty")])
    assert rows(tmp_path / "errors.csv")[0]["file"] == "f\\udcff.tif"
    made = result(apart(), "f.tif")
    strange = Part(bad, facts_of(made), lambda: made.instances)
    write_json(tmp_path / "i.json", [strange], CLASSES)
    assert list(read_instances(tmp_path / "i.json")) == ["f\\udcff.tif"]
    write_csv(tmp_path / "m.csv", [strange])


def test_joint_files_hold_one_picture_at_a_time(tmp_path: Path) -> None:
    masks = [Mask(3 * (i // 40), 3 * (i % 40), np.ones((2, 2), bool)) for i in range(150)]
    made = part(result(Instances.from_masks((60, 130), masks)), tmp_path)

    def many(count: int) -> Iterator[Part]:
        for number in range(count):
            facts = json.loads(json.dumps(dict(made.facts)))
            yield Part(f"{number}.tif", facts, made.instances)

    def peak(count: int) -> int:
        tracemalloc.start()
        write_csv(tmp_path / "m.csv", many(count))
        write_json(tmp_path / "i.json", many(count), CLASSES)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(3)
    assert peak(9) < 1.3 * few


def test_run_facts_are_plain_and_say_who_when_and_with_what() -> None:
    start = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    facts = run_facts(
        model="compact-1", model_hash="ab", settings={"tile": 512}, inputs={"a.tif": "ff"},
        started=start, ended=start.replace(minute=5), device="cpu", pictures=1,
    )  # fmt: skip
    json.dumps(facts, allow_nan=False)
    assert facts["seconds"] == 60
    assert facts["started"] == "2026-01-02T03:04:05+00:00"
    assert facts["model"] == {"identity": "compact-1", "hash": "ab"}
    assert {"torch", "numpy"} <= facts["packages"].keys()
    assert facts["pictures"] == 1
    with pytest.raises(ValueError, match="time zone"):
        run_facts(model="", model_hash="", settings={}, inputs={}, started=datetime(2026, 1, 1),
                  ended=start, device="cpu")  # fmt: skip
