"""The page about a run: its figures are right, and nothing in it is foreign."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import Instances
from organoseg.inference.page.charts import box, histogram, nice_step
from organoseg.inference.page.gallery import SHOWN
from organoseg.inference.page.plate import row_name, well_place
from organoseg.inference.page.summary import natural, summarise
from organoseg.inference.page.words import counted, figure
from organoseg.inference.part import Part
from organoseg.inference.writers import parse_writers, run_facts, write_report
from tests.inference.writers.cases import apart, difficult, part, result

EVIL = "<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """Counts elements and gathers text, addresses and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href")]
        assert not any(k.startswith("on") for k, _ in attrs)
        if tag not in ("meta", "input", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words += data + " "


def run() -> dict[str, Any]:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return run_facts(model=f"compact {EVIL}", model_hash="ab", settings={"x": EVIL}, inputs={},
                     started=now, ended=now.replace(hour=2), device="cpu")  # fmt: skip


def page(folder: Path, parts: list[Part], **more: Any) -> Page:
    failures = more.pop("failures", [])
    write_report(folder / "report.html", iter(parts), run(), failures, **more)
    made = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert made.open == []
    return made


def test_nothing_foreign_gets_into_the_page(tmp_path: Path) -> None:
    key = "a<b>&'\"/x.tif"
    made = result(apart(), key, fields={"plate": EVIL, "well": "A1"}, warnings=(EVIL,))
    other = result(apart(), "b.tif", fields={"plate": "P", "well": EVIL})
    (writer,) = parse_writers(["overlay"])
    writer.write(writer.path(tmp_path, key), made)
    shown = page(tmp_path, [part(made, tmp_path), part(other, tmp_path)], failures=[(EVIL, EVIL)])
    assert shown.tags.count("script") == 1
    assert EVIL in shown.words
    local = [a for a in shown.addresses if not a.startswith("data:image/jpeg;base64,")]
    assert set(local) == {"overlay/a%3Cb%3E%26%27%22/x.tif.png"}
    text = (tmp_path / "report.html").read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", text)


def test_the_figures_of_the_page_are_those_of_the_table(tmp_path: Path) -> None:
    made = [
        result(difficult(), "a.tif"),
        result(apart(), "b.tif"),
        result(Instances.empty((9, 9)), "c.tif"),
    ]
    parts = [part(r, tmp_path) for r in made]
    summary = summarise(parts)
    assert summary.count == len(difficult()) + len(apart())
    rows = [row for p in parts for row in p.facts["rows"] if not row["touches_border"]]
    assert np.allclose(
        np.sort(summary.sizes()), sorted(row["equivalent_diameter_um"] for row in rows)
    )
    assert summary.pictures[0].border == 4
    words = page(tmp_path, parts).words
    assert f"{summary.count} organoids in 3 pictures" in words
    assert "By class: organoid: 13, cyst: 6." in words
    assert "No organoid was found in some pictures" in words
    assert f"{figure(float(np.median(summary.sizes())))} µm" in words


def test_without_any_pixel_size_sizes_are_in_px_and_the_page_says_so(tmp_path: Path) -> None:
    made = part(result(apart(), pixel_size=None), tmp_path)
    words = page(tmp_path, [made]).words
    assert "The pixel size is unknown" in words
    assert "equivalent diameter, px" in words
    assert summarise([made]).unit == "px"
    mixed = summarise([made, part(result(apart(), "b.tif"), tmp_path)])
    assert (mixed.unit, len(mixed.sizes())) == ("µm", len(apart()))


def test_plates_have_a_map_with_each_well(tmp_path: Path) -> None:
    parts = [
        part(result(apart(), f"{well}.tif", fields={"plate": "P", "well": well}), tmp_path)
        for well in ("A01", "H12", "B3")
    ]
    text = (page(tmp_path, parts), (tmp_path / "report.html").read_text())[1]
    for name in ("A1", "H12", "B3"):
        assert f"<title>{name}: 6 (6 organoids, pictures: 1)</title>" in text
    assert text.count('class="none"') == 2 * (96 - 3)
    assert [g.name for g in summarise(parts).groups()] == ["P A01", "P B3", "P H12"]


def test_folders_are_the_groups_where_wells_are_unknown(tmp_path: Path) -> None:
    names = ("d10/a.tif", "d2/a.tif", "d2/b.tif")
    groups = summarise([part(result(apart(), name), tmp_path) for name in names]).groups()
    assert [(g.name, g.count) for g in groups] == [("d2", 12), ("d10", 6)]


def test_only_a_few_pictures_are_inside_the_page(tmp_path: Path) -> None:
    first = part(result(apart(), "0.tif"), tmp_path)
    parts = [
        dataclasses.replace(
            first, key=f"{n}.tif", facts={**first.facts, "key": f"{n}.tif", "count": n}
        )
        for n in range(100)
    ]
    shown = page(tmp_path, parts)
    inside = [a for a in shown.addresses if a.startswith("data:")]
    assert len(inside) == SHOWN
    assert "24 of 100 pictures" in shown.words
    assert all(f"{n}.tif" in shown.words for n in range(100))


def test_masks_are_not_read_for_the_page(tmp_path: Path) -> None:
    made = part(result(apart()), tmp_path, lambda: pytest.fail("read"))
    page(tmp_path, [made])


def test_a_run_without_a_result_has_a_page_that_says_why(tmp_path: Path) -> None:
    words = page(tmp_path, [], failures=[("x.tif", "The file is empty")]).words
    assert "0 organoids in 0 pictures" in words
    assert "x.tif: The file is empty" in words


def test_sections_of_others_are_taken_as_they_are(tmp_path: Path) -> None:
    made = part(result(apart()), tmp_path)
    assert (
        "Growth"
        in page(tmp_path, [made], extra_sections=["<section><h2>Growth</h2></section>"]).words
    )


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("A1", (0, 0)),
        ("h12", (7, 11)),
        ("P024", (15, 23)),
        ("AF48", (31, 47)),
        ("A0", None),
        ("x", None),
        ("A1b", None),
    ],
)
def test_wells_by_name(name: str, place: tuple[int, int] | None) -> None:
    assert well_place(name) == place
    if place:
        assert well_place(f"{row_name(place[0])}{place[1] + 1}") == place


def test_charts_of_odd_values() -> None:
    nothing = np.zeros(0, np.float32)
    assert histogram(nothing, "d") == box(nothing, 1.0) == ""
    for values in ([1.0], [5.0] * 40, [1, 2, 3, 1e6], [1e-6, 2e-6]):
        chart = histogram(np.array(values, np.float32), "d")
        counts = [int(n) for n in re.findall(r": (\d+) organoids", chart)]
        assert sum(counts) == len(values)
        assert "nan" not in chart + box(np.array(values, np.float32), 4.0)
    assert [nice_step(s, 5) for s in (5, 7, 12, 100)] == [1, 2, 5, 20]


def test_words() -> None:
    assert [figure(v) for v in (0, 3.0, 0.123456, 12.34, 1234567, float("nan"), None)] == [
        "0", "3", "0.123", "12.3", "1\u202f234\u202f567", "–", "–",
    ]  # fmt: skip
    assert (counted(1, "file"), counted(2, "file")) == ("1 file", "2 files")
    assert sorted(["A10", "A2", "B1", "10", "2"], key=natural) == ["2", "10", "A2", "A10", "B1"]
