"""What `predict` writes of a picture comes back whole through readers that are not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

from organoseg.core import Image, Instances, Mask
from organoseg.inference.result import Result
from organoseg.inference.writers import PICTURE_WRITERS, facts_of
from organoseg.io import read_instances, write_instances

shapely = pytest.importorskip("shapely", reason="shapely is missing")
Bits = NDArray[np.bool_]
# No deadline: the first picture also waits for imports.
in_tmp = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
CLASSES = {1: "organoid", 2: 'cyst "large", =1'}

# -- pictures as biology makes them ---------------------------------------------------------------


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> Bits:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


@st.composite
def scenes(draw: st.DrawFn) -> Instances:
    """Discs, rings and bars that touch, nest, lie over each other, leave the picture, or are a pixel."""
    shape = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    planes: list[Bits] = []
    for _ in range(draw(st.integers(0, 4))):
        # The middle may lie outside: then the border cuts it.
        y, x = draw(st.integers(-8, shape[0] + 8)), draw(st.integers(-8, shape[1] + 8))
        radius = draw(st.floats(0, 25))
        whole = disc(shape, y, x, radius)
        kind = draw(
            st.sampled_from(("disc", "holed", "nested", "touching", "bar", "pieces", "dot"))
        )
        if kind == "holed":
            planes.append(whole & ~disc(shape, y, x, radius / 2))
        elif kind == "nested":
            planes += [whole, disc(shape, y, x, radius / 2), whole]
        elif kind == "touching":
            planes += [whole, np.roll(whole, int(2 * radius) + 1, 1), np.roll(whole, 1, 0)]
        elif kind == "bar":
            bar = np.zeros(shape, bool)
            bar[max(y, 0) : max(y, 0) + 3, max(x, 0) :] = True
            planes.append(bar)
        elif kind == "pieces":
            # Two squares that meet at a corner only, and a third far away.
            parts = np.zeros(shape, bool)
            parts[:4, :4] = parts[4:8, 4:8] = True
            parts[-1, -1] = True
            planes.append(parts)
        elif kind == "dot":
            planes.append(
                disc(shape, min(max(y, 0), shape[0] - 1), min(max(x, 0), shape[1] - 1), 0)
            )
        else:
            planes.append(whole)
    planes = [plane for plane in planes if plane.any()]
    n = len(planes)
    return Instances.from_masks(
        shape,
        [Mask.from_bits(plane) for plane in planes],
        scores=draw(st.lists(st.sampled_from((0.25, 0.5, 1.0)), min_size=n, max_size=n)),
        classes=draw(st.lists(st.sampled_from((1, 2)), min_size=n, max_size=n)),
        ids=draw(st.lists(st.integers(1, 10**6), min_size=n, max_size=n, unique=True)),
        sources=[f"model:{i % 2}" for i in range(n)],
    )


def known(kind: str) -> Instances:
    """One picture of each kind that once broke somebody's program; no draw can miss them."""
    shape = (60, 80)
    big = disc(shape, 30, 40, 20)
    planes = {
        "none": [],
        "touching": [disc(shape, 30, 20, 10), disc(shape, 30, 41, 10), disc(shape, 51, 20, 10)],
        "nested": [big, disc(shape, 30, 40, 9), disc(shape, 30, 40, 3)],
        "holed": [big & ~disc(shape, 28, 38, 8) & ~disc(shape, 42, 40, 2), disc(shape, 28, 38, 4)],
        "border": [disc(shape, 0, 0, 14), disc(shape, 59, 79, 14), np.ones(shape, bool)],
        "one pixel": [disc(shape, y, x, 0) for y, x in ((0, 0), (59, 79), (30, 40), (30, 41))],
        "identical": [big, big],
    }[kind]
    masks = [Mask.from_bits(np.asarray(plane)) for plane in planes]
    return Instances.from_masks(shape, masks, scores=np.linspace(0.9, 0.5, len(masks)))


KNOWN = ("none", "touching", "nested", "holed", "border", "one pixel", "identical")


def dots(count: int) -> Instances:
    """A plane full of organoids of a pixel each: more than 16 bits can number."""
    wide = 300
    dot = np.ones((1, 1), bool)
    masks = [Mask(i // wide, i % wide, dot) for i in range(count)]
    return Instances.from_masks((-(-count // wide), wide), masks)


def result(found: Instances, pixel_size: tuple[float, float] | None = (0.65, 0.65)) -> Result:
    rows, columns = np.indices(found.shape)
    pixels = ((rows * 7 + columns * 3) % 251).astype(np.uint8)
    return Result("plate 1/B03.tif", Image(pixels, pixel_size=pixel_size), found, CLASSES)


def written(name: str, folder: Path, found: Instances, **options: Any) -> Path:
    writer = PICTURE_WRITERS[name]
    made = result(found, **options)
    path = writer.path(folder, made.key)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write(path, made)
    return path


def covered(geometry: Any, shape: tuple[int, int]) -> Bits:
    """The pixels whose middle lies inside, found by shapely rather than by us."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return np.asarray(shapely.contains_xy(geometry, x, y))


def close(mask: Mask, back: Bits) -> bool:
    y0, x0, y1, x1 = mask.box
    whole = np.zeros_like(back)
    whole[y0:y1, x0:x1] = mask.bits
    shared, either = np.count_nonzero(whole & back), np.count_nonzero(whole | back)
    return bool(shared >= 0.99 * either) if mask.area > 50 else bool(shared == either)


# -- ImageJ ---------------------------------------------------------------------------------------


def regions(path: Path) -> dict[int, Any]:
    """Geometry by number; ImageJ fills the rings of a ROI by the even-odd rule."""
    read = roifile.roiread(path)
    made = {}
    for roi in [read] if isinstance(read, roifile.ImagejRoi) else read:
        whole = shapely.Polygon()
        for ring in roi.coordinates(multi=True):
            whole = whole.symmetric_difference(shapely.Polygon(ring))
        made[int(roi.name)] = whole
    return made


@in_tmp
@given(found=scenes())
@example(found=known("nested"))
@example(found=known("holed"))
@example(found=known("border"))
@example(found=known("one pixel"))
def test_rois_opened_with_roifile(tmp_path: Path, found: Instances) -> None:
    path = written("rois", tmp_path, found)
    made = regions(path) if len(found) else {}
    assert sorted(made) == sorted(found.ids.tolist())
    for mask, number in zip(found, found.ids.tolist(), strict=True):
        assert close(mask, covered(made[number], found.shape))


# -- QuPath ---------------------------------------------------------------------------------------


@in_tmp
@given(found=scenes())
@example(found=known("none"))
@example(found=known("nested"))
@example(found=known("holed"))
@example(found=known("border"))
@example(found=known("one pixel"))
def test_geojson_valid_by_schema(tmp_path: Path, found: Instances) -> None:
    schema = pytest.importorskip("geojson_pydantic", reason="geojson-pydantic is missing")
    text = written("geojson", tmp_path, found).read_text()
    collection = schema.FeatureCollection.model_validate_json(text)
    assert [int(f.properties["name"]) for f in collection.features] == found.ids.tolist()
    assert len({f.id for f in collection.features}) == len(found)
    for mask, feature in zip(found, json.loads(text)["features"], strict=True):
        geometry = shapely.geometry.shape(feature["geometry"])
        assert geometry.is_valid
        assert geometry.area == mask.area
        assert close(mask, covered(geometry, found.shape))


# -- labels ---------------------------------------------------------------------------------------


def exact_labels(found: Instances, labels: NDArray[Any]) -> None:
    """The stated rule holds: a pixel shows one that covers it, of these the highest score, then the lower id."""
    assert labels.shape == found.shape
    best = np.full(found.shape, -np.inf)
    expected = np.zeros(found.shape, np.int64)
    order = sorted(range(len(found)), key=lambda i: int(found.ids[i]))
    for index in order:
        y0, x0, y1, x1 = found.masks[index].box
        wins = found.masks[index].bits & (found.scores[index] > best[y0:y1, x0:x1])
        expected[y0:y1, x0:x1][wins] = found.ids[index]
        best[y0:y1, x0:x1][wins] = found.scores[index]
    assert np.array_equal(labels, expected)


@in_tmp
@pytest.mark.filterwarnings("ignore:.*lie wholly under others")
@given(found=scenes())
@example(found=known("touching"))
@example(found=known("nested"))
@example(found=known("identical"))
def test_label_tiff_exact(tmp_path: Path, found: Instances) -> None:
    exact_labels(found, tifffile.imread(written("labels", tmp_path, found)))


@pytest.mark.parametrize("kind", ["none", "touching", "one pixel"])
def test_organoids_that_share_no_pixel_come_back_from_labels(tmp_path: Path, kind: str) -> None:
    found = known(kind)
    labels = tifffile.imread(written("labels", tmp_path, found))
    back = Instances.from_labels(labels)
    assert np.array_equal(back.ids, found.ids)
    assert np.array_equal(back.to_dense(), found.to_dense())


@pytest.mark.parametrize("size", [(0.65, 0.65), (0.5, 0.25), None])
def test_label_tiff_keeps_the_pixel_size(tmp_path: Path, size: tuple[float, float] | None) -> None:
    path = written("labels", tmp_path, known("touching"), pixel_size=size)
    with tifffile.TiffFile(path) as tif:
        meta = tif.imagej_metadata or {}
        tags = tif.pages[0].tags
        if size is None:
            assert meta.get("unit") in (None, "", "pixel")
            return
        assert meta["unit"] in ("um", "micron", "µm", "\\u00B5m")
        per_um = [tags[f"{axis}Resolution"].value for axis in "YX"]
        assert [d / n for n, d in per_um] == pytest.approx(size, rel=1e-5)


# -- run lengths, and all kinds at once -----------------------------------------------------------


@in_tmp
@given(found=scenes())
@example(found=known("identical"))
@example(found=known("border"))
def test_run_lengths_exact_in_pycocotools(tmp_path: Path, found: Instances) -> None:
    path = tmp_path / "i.json"
    write_instances(path, [("a", found)], CLASSES)
    rows = json.loads(path.read_text())["annotations"]
    # COCO wants ids that differ within a file; where they cannot be the numbers, those stand beside.
    assert [row.get("number", row["id"]) for row in rows] == found.ids.tolist()
    for row, plane in zip(rows, found.to_dense(), strict=True):
        assert np.array_equal(coco.decode(row["segmentation"]).astype(bool), plane)
    back = read_instances(path)["a"]
    assert np.array_equal(back.ids, found.ids)
    assert np.array_equal(back.to_dense(), found.to_dense())
    assert np.array_equal(back.scores, found.scores)


def test_more_organoids_than_16_bits_can_number(tmp_path: Path) -> None:
    found = dots(66_000)
    labels = tifffile.imread(written("labels", tmp_path, found))
    assert labels.dtype == np.uint32
    assert np.array_equal(labels.ravel(), np.arange(1, 66_001))
    path = tmp_path / "i.json"
    write_instances(path, [("a", found)], CLASSES)
    back = read_instances(path)["a"]
    assert np.array_equal(back.ids, found.ids)
    assert np.array_equal(back.boxes, found.boxes)
    read = roifile.roiread(written("rois", tmp_path, found))
    assert [int(roi.name) for roi in read] == found.ids.tolist()
    places = [(roi.top, roi.left, roi.bottom, roi.right) for roi in read]
    assert np.array_equal(places, found.boxes)


@in_tmp
@given(found=scenes())
def test_a_number_means_the_same_organoid_in_every_file(tmp_path: Path, found: Instances) -> None:
    rows = {row["id"]: row for row in facts_of(result(found))["rows"]}
    rois = regions(written("rois", tmp_path, found)) if len(found) else {}
    text = written("geojson", tmp_path, found).read_text()
    features = {int(f["properties"]["name"]): f for f in json.loads(text)["features"]}
    assert set(rows) == set(rois) == set(features) == set(found.ids.tolist())
    for number, row in rows.items():
        geometry = shapely.geometry.shape(features[number]["geometry"])
        assert row["area_px"] == geometry.area == rois[number].area
        # The table's centroid is of pixel middles, the outlines' of pixel corners.
        assert (row["y"] + 0.5, row["x"] + 0.5) == pytest.approx(
            (geometry.centroid.y, geometry.centroid.x)
        )
