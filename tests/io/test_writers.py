"""What is written can be read back by us and by the tools people have."""

import csv
import io
import json

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from pycocotools.coco import COCO

from organoseg.core import DataError, Image, Instances, Mask
from organoseg.io import (
    COLUMNS,
    measure,
    read_image,
    read_instances,
    write_instances,
    write_labels,
    write_measurements,
)
from tests.core.strategies import organoids, same

in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def disc(radius, y, x):
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return Mask.from_bits(rows**2 + columns**2 <= radius**2, y - radius, x - radius)


@in_tmp
@given(first=organoids(), second=organoids())
def test_coco_round_trip(tmp_path, first, second):
    path = tmp_path / "i.json"
    names = {1: "organoid", 2: "cyst", 3: "bud"}
    write_instances(path, [("a.tif", first), ("b.tif", second)], names)
    read = read_instances(path)
    assert list(read) == ["a.tif", "b.tif"]
    assert same(first, read["a.tif"])
    assert same(second, read["b.tif"])
    assert [a["id"] for a in json.loads(path.read_text())["annotations"]] == list(
        range(1, len(first) + len(second) + 1)
    )


def test_numbers_that_clash_within_an_image_give_way_to_the_file_s_ids(tmp_path):
    made = Instances.from_masks((40, 50), [disc(5, 10, 20), disc(7, 15, 22)], ids=[8, 9])
    write_instances(tmp_path / "i.json", [("a.tif", made)])
    data = json.loads((tmp_path / "i.json").read_text())
    data["annotations"][1]["number"] = 8  # copied by hand
    (tmp_path / "i.json").write_text(json.dumps(data))
    assert read_instances(tmp_path / "i.json")["a.tif"].ids.tolist() == [1, 2]


def test_coco_file_opens_in_pycocotools(tmp_path, capsys):
    made = Instances.from_masks((40, 50), [disc(5, 10, 20), disc(7, 15, 22)], scores=[0.25, 1])
    write_instances(tmp_path / "i.json", [("a.tif", made), ("b.tif", Instances.empty((3, 4)))])
    coco = COCO(str(tmp_path / "i.json"))
    assert [image["file_name"] for image in coco.loadImgs([1, 2])] == ["a.tif", "b.tif"]
    for annotation, mask, plane in zip(
        coco.loadAnns(coco.getAnnIds([1])), made, made.to_dense(), strict=True
    ):
        assert np.array_equal(coco.annToMask(annotation).astype(bool), plane)
        assert annotation["area"] == mask.area
        y0, x0, y1, x1 = mask.box
        assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]


def test_coco_refuses_double_names_and_nameless_classes(tmp_path):
    none = Instances.empty((3, 3))
    with pytest.raises(DataError, match=r"a\.tif"):
        write_instances(tmp_path / "i.json", [("a.tif", none), ("a.tif", none)])
    made = Instances.from_masks((40, 40), [disc(2, 9, 9)], classes=[4])
    with pytest.raises(DataError, match=r"\[4\]"):
        write_instances(tmp_path / "i.json", [("a.tif", made)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("top", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_labels_hold_ids_and_pixel_size(tmp_path, top, dtype):
    made = Instances.from_masks((40, 50), [disc(5, 10, 20), disc(6, 25, 30)], ids=[3, top])
    path = tmp_path / "l.tif"
    write_labels(path, made, pixel_size=(0.5, 0.25))
    labels = tifffile.imread(path)
    assert labels.dtype == dtype
    assert np.array_equal(labels, made.render())
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages[0].tags
        per_unit = [n / d for n, d in (tags["YResolution"].value, tags["XResolution"].value)]
        assert per_unit == pytest.approx([2, 4] if dtype == np.uint16 else [2e4, 4e4])
    if dtype == np.uint16:
        assert read_image(path).pixel_size == pytest.approx((0.5, 0.25))


def test_labels_without_pixel_size_and_of_nothing(tmp_path):
    write_labels(tmp_path / "l.tif", Instances.empty((4, 5)))
    assert not tifffile.imread(tmp_path / "l.tif").any()
    assert read_image(tmp_path / "l.tif").pixel_size is None


def test_an_organoid_lost_under_others_is_named(tmp_path):
    made = Instances.from_masks(
        (40, 40), [disc(3, 20, 20), disc(9, 20, 20)], scores=[0.1, 0.9], ids=[5, 6]
    )
    with pytest.warns(UserWarning, match="1 organoids .* ids 5"):
        write_labels(tmp_path / "l.tif", made)
    write_labels(tmp_path / "l.tif", made, rule="small")
    assert set(np.unique(tifffile.imread(tmp_path / "l.tif"))) == {0, 5, 6}


def test_measurements_of_a_disc():
    made = Instances.from_masks((100, 120), [disc(20, 50, 60)], scores=[0.5], sources=["ann"])
    pixels = np.full((100, 120), 7, np.uint16)
    pixels[50, 60] = 7 + made.areas[0]
    (row,) = measure(made, Image(pixels, pixel_size=(0.5, 0.5), name="a.tif"))
    assert tuple(row) == COLUMNS
    assert (row["y"], row["x"], row["area_px"]) == (50, 60, made.areas[0])
    assert row["area_um2"] == row["area_px"] / 4
    assert row["equivalent_diameter_px"] == pytest.approx(40, rel=0.01)
    assert row["equivalent_diameter_um"] == pytest.approx(20, rel=0.01)
    assert row["feret_px"] == pytest.approx(41, rel=0.01)
    assert row["perimeter_px"] == pytest.approx(2 * np.pi * 20, rel=0.02)
    assert row["eccentricity"] == pytest.approx(0, abs=1e-6)
    assert 0.95 < row["solidity"] <= 1
    assert 0.95 < row["circularity"] <= 1
    assert row["mean_intensity"] == pytest.approx(8)
    assert (row["touches_border"], row["overlap_fraction"], row["source"]) == (False, 0, "ann")


@given(organoids())
def test_measurements_of_anything_are_in_range(made):
    for row, mask in zip(measure(made), made, strict=True):
        assert row["area_um2"] is None
        assert row["mean_intensity"] is None
        assert 0 < row["solidity"] <= 1 + 1e-9
        assert 0 < row["circularity"] <= 1
        assert 0 <= row["eccentricity"] < 1
        height, width = mask.bits.shape
        assert max(height, width) <= row["feret_px"] <= np.hypot(height, width) + 1e-9
        assert row["perimeter_px"] > 0


def test_measure_refuses_another_image():
    with pytest.raises(DataError, match=r"other\.tif"):
        measure(Instances.empty((3, 4)), Image(np.zeros((4, 3), np.uint8), name="other.tif"))


def test_csv_has_fixed_columns_and_runs_no_formula(tmp_path):
    path = tmp_path / "m.csv"
    made = Instances.from_masks(
        (40, 40), [disc(3, 9, 9), disc(3, 20, 20)], sources=['=1+"a",\n', "µ"]
    )
    rows = measure(made, Image(np.zeros((40, 40), np.float32) - 3, name="@x,y.tif"))
    write_measurements(path, rows)
    content = path.read_bytes()
    assert content.startswith(b"image,id,class,score,area_px")
    read = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
    assert [row["source"] for row in read] == ['\'=1+"a",\n', "µ"]
    assert read[0]["image"] == "'@x,y.tif"
    assert (read[0]["mean_intensity"], read[0]["area_um2"], read[0]["touches_border"]) == (
        "-3",
        "",
        "false",
    )
    assert content.count(b"\r\n") == 3
    write_measurements(path, [])
    assert path.read_bytes().count(b"\r\n") == 1
    with pytest.raises(DataError, match="colour"):
        write_measurements(path, [{"colour": 1}])


def test_real_labels_survive_a_round_trip(shared, tmp_path):
    real = read_instances(shared / "data" / "m_orgaquant" / "instances_test.json")
    write_instances(tmp_path / "i.json", real.items())
    again = read_instances(tmp_path / "i.json")
    assert sum(map(len, real.values())) == len(
        json.loads((tmp_path / "i.json").read_text())["annotations"]
    )
    for name, before in real.items():
        assert again[name].to_rles() == before.to_rles()
