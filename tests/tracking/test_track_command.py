"""`organoseg track`: series found, tables written, the page readable; and what is wrong said in words."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from organoseg.cli.main import main
from organoseg.core import DataError, Image, Instances, UsageError, write_json
from organoseg.dataset.synthetic_series import SeriesSpec, make_series
from organoseg.inference.records import facts_path, part_path
from organoseg.io import measure, write_instances
from organoseg.io.csv_table import write_measurements
from organoseg.tracking.run_folder import Picture
from organoseg.tracking.series import find_series, parse_interval

pytest.importorskip("laptrack", reason="tracking needs laptrack: pip install 'organoseg[track]'")

GRAMMAR = r"(?P<site>series_\d+)_t(?P<time>\d+)"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_run(
    folder: Path, found: dict[str, Instances], pixel_size: tuple[float, float] | None = None
) -> Path:
    """What `predict` leaves behind, as far as tracking reads it."""
    table = []
    for key, organoids in found.items():
        path = part_path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_instances(path, [(key, organoids)])
        facts = {"key": key, "fields": {}, "pixel_size": pixel_size, "count": len(organoids)}
        write_json(facts_path(folder, key), facts)
        image = Image(np.full(organoids.shape, 9, np.uint8), pixel_size=pixel_size)
        table += [{**row, "image": key} for row in measure(organoids, image)]
    write_measurements(folder / "measurements.csv", table)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    spec = SeriesSpec(size=200, frames=6, count=(6, 9), appear=0.1)
    found = {
        item.image.name: item.instances.replace(ids=np.arange(1, len(item.instances) + 1))
        for seed in (1, 2)
        for item in make_series(seed, spec, pixels=False)
    }
    return write_run(tmp_path / "run", found, (0.5, 0.5))


def test_tables_say_the_same_of_every_organoid(run: Path) -> None:
    assert main(["track", str(run), "--grammar", GRAMMAR, "--interval", "30min", "-q"]) == 0
    points, tracks, measured = (
        rows(run / f"{name}.csv") for name in ("tracks", "growth", "measurements")
    )
    assert len(points) == len(measured)
    by_organoid = {(p["image"], p["id"]): p for p in points}
    for row in measured:
        point = by_organoid[row["image"], row["id"]]
        assert [row[c] for c in ("series", "frame", "track")] == [
            point[c] for c in ("series", "frame", "track")
        ]
        sizes = ("area_px", "area_um2", "equivalent_diameter_um", "touches_border")
        assert [row[c] for c in sizes] == [point[c] for c in sizes]
        assert float(row["area_um2"]) == pytest.approx(float(row["area_px"]) / 4, rel=1e-5)
        assert float(point["time"]) == pytest.approx(0.5 * int(point["frame"]))
    assert {t["series"] for t in tracks} == {"series_00001_t*", "series_00002_t*"}
    assert {t["per"] for t in tracks} == {"hour"}
    for track in tracks:
        own = [p for p in points if (p["series"], p["track"]) == (track["series"], track["track"])]
        assert int(track["frames"]) == len(own)
        assert track["last_area_px"] == own[-1]["area_px"]
        if track["growth_rate"]:
            low, high = float(track["growth_rate_low"]), float(track["growth_rate_high"])
            assert low <= float(track["growth_rate"]) <= high


def test_tracking_again_gives_the_same_files(run: Path) -> None:
    names = ("tracks.csv", "growth.csv", "measurements.csv", "tracks.html")
    contents = []
    for _ in range(2):
        assert main(["track", str(run), "--grammar", GRAMMAR, "-q"]) == 0
        contents.append([(run / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    # Columns are exchanged, not added once more.
    head = (run / "measurements.csv").read_text(encoding="utf-8").splitlines()[0]
    assert head.count("track") == 1


def test_a_damaged_file_costs_its_series_only(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part_path(run, "series_00001_t003.png").write_text("{")
    assert main(["track", str(run), "--grammar", GRAMMAR]) == 1
    said = capsys.readouterr().err
    assert "series series_00001_t* could not be tracked" in said
    assert "series_00001_t003.png.json" in said
    assert {r["series"] for r in rows(run / "tracks.csv")} == {"series_00002_t*"}
    measured = rows(run / "measurements.csv")
    assert {r["track"] for r in measured if "series_00001" in r["image"]} == {""}
    part_path(run, "series_00002_t000.png").write_text("{")
    assert main(["track", str(run), "--grammar", GRAMMAR]) == 3


def test_the_report_of_the_run_gets_the_curves_once(run: Path) -> None:
    report = run / "report.html"
    report.write_text("<html><body><main><p>counts</p></main></body></html>", encoding="utf-8")
    for _ in range(2):
        assert main(["track", str(run), "--grammar", GRAMMAR, "-q"]) == 0
    text = report.read_text(encoding="utf-8")
    assert text.startswith("<html><body><main><p>counts</p>")
    assert text.endswith("</main></body></html>")
    assert text.count("Organoids over time") == 1
    assert text.count("<svg") == 2


class Page(HTMLParser):
    """Counts elements, and sees that none that has to be closed stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in {"meta", "image", "line", "img", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()


def test_the_page_shows_curves_and_numbered_outlines_and_needs_nothing_else(run: Path) -> None:
    assert main(["track", str(run), "--grammar", GRAMMAR, "-q"]) == 0
    text = (run / "tracks.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    # Two series: growth, counts and six frames each.
    assert page.count["svg"] == 2 * (2 + 6)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    last = [
        r for r in rows(run / "tracks.csv") if (r["series"], r["frame"]) == ("series_00001_t*", "5")
    ]
    shown = text.split('class="film"')[1].split("</figure>")[5]
    assert {r["track"] for r in last} == set(re.findall(r">(\d+)</text>", shown))


def test_a_name_that_is_markup_or_a_formula_stays_text(tmp_path: Path) -> None:
    square = Instances.from_dense(np.pad(np.ones((1, 9, 9), bool), ((0, 0), (8, 8), (8, 8))))
    keys = [f"=<b>{place}_t{k}.png" for place in ("x",) for k in range(3)]
    run = write_run(tmp_path / "run", dict.fromkeys(keys, square))
    assert main(["track", str(run), "--grammar", r"^(?P<site>.+)_t(?P<time>\d+)", "-q"]) == 0
    assert "<b>" not in (run / "tracks.html").read_text(encoding="utf-8")
    assert {r["image"][0] for r in rows(run / "tracks.csv")} == {"'"}
    assert [r["track"] for r in rows(run / "measurements.csv")] == ["1"] * 3


def picture(key: str, **fields: str) -> Picture:
    return Picture(key, Path("none"), fields)


def test_series_are_places_and_frames_are_in_the_order_of_time() -> None:
    pictures = [
        picture(f"{well}_{t}.tif", well=well, plate="p", time=t)
        for well in ("A01", "B02")
        for t in ("10", "9", "2")
    ]
    found = find_series([*pictures, picture("note.png")])
    assert [s.name for s in found] == ["p/A01", "p/B02"]
    assert [p.fields["time"] for p in found[0].pictures] == ["2", "9", "10"]
    assert found[0].times == (0, 7, 8)
    assert find_series(pictures, interval=2.0)[0].times == (0, 14, 16)


def test_channels_and_planes_are_series_of_their_own() -> None:
    pictures = [
        picture(f"{c}{z}{t}", series="p/x<c>_<t>.tif", channel=c, z=z, time=t)
        for c in ("1", "2")
        for z in ("0", "1")
        for t in ("0", "1")
    ]
    names = [s.name for s in find_series(pictures)]
    assert names == [f"p/x{c}_*, z {z}" for c in "12" for z in "01"]
    movie = [picture(f"movie.tif.t{t}", series="movie.tif", time=t) for t in "01"]
    assert [s.name for s in find_series(movie)] == ["movie.tif"]
    seen = [picture(f"{z}{t}", well="A01", z=f"focus {z}", time=t) for z, t in ("30", "41")]
    assert [s.name for s in find_series(seen)] == ["A01"]


def test_folders_may_be_series() -> None:
    pictures = [picture(f"{place}/img{k}.png") for place in "ba" for k in (10, 9, 1)]
    found = find_series(pictures, by_folder=True)
    assert [s.name for s in found] == ["a", "b"]
    assert [p.key for p in found[0].pictures] == ["a/img1.png", "a/img9.png", "a/img10.png"]
    assert found[0].times == (0, 1, 2)


def test_two_pictures_of_one_time_are_named() -> None:
    pictures = [picture("a.tif", well="A01", time="3"), picture("b.tif", well="A01", time="03")]
    with pytest.raises(DataError, match=r"a\.tif and b\.tif"):
        find_series(pictures)


@pytest.mark.parametrize(
    ("text", "hours"), [("30min", 0.5), ("2h", 2), ("1.5 d", 36), ("90s", 0.025)]
)
def test_intervals(text: str, hours: float) -> None:
    assert parse_interval(text) == pytest.approx(hours)


@pytest.mark.parametrize("text", ["2", "h", "-1h", "0h", "1 week", "1e400h"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(UsageError, match="no time between frames"):
        parse_interval(text)


Spoil = Callable[[Path], None]


@pytest.mark.parametrize(
    ("options", "spoil", "code", "said"),
    [
        ([], lambda run: None, 3, "names its time"),
        (["--grammar", "("], lambda run: None, 2, "No grammar"),
        (["--interval", "2"], lambda run: None, 2, "no time between frames"),
        (
            ["--grammar", GRAMMAR],
            lambda run: (run / "parts").rename(run / "other"),
            3,
            "no results",
        ),
        (
            ["--grammar", GRAMMAR],
            lambda run: (run / "measurements.csv").write_text("a,b\n1,2\n"),
            3,
            "not a table of measurements",
        ),
        (
            ["--grammar", GRAMMAR],
            lambda run: (run / "facts/series_00001_t003.png.json").write_text('{"fields": 3}'),
            3,
            "facts/series_00001_t003.png.json",
        ),
    ],
    ids=[
        "no time",
        "bad grammar",
        "bad interval",
        "no run",
        "strange table",
        "strange facts",
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_half_written(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    spoil: Spoil,
    code: int,
    said: str,
) -> None:
    spoil(run)
    assert main(["track", str(run), *options]) == code
    assert said in capsys.readouterr().err
    assert not (run / "tracks.html").exists()
    assert not list(run.rglob(".tmp-*"))
