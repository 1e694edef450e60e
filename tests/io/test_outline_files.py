"""ROI archives and GeoJSON: exact, and readable by the tools people have."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

from organoseg.core import DataError, Instances, Mask
from organoseg.io.geojson import write_geojson
from organoseg.io.roi_zip import write_rois
from tests.core.strategies import organoids
from tests.core.test_outlines import fill

in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def drawn(roi: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels that ImageJ gives a ROI: those whose centre the even-odd rule puts inside."""
    rings = roi.coordinates(multi=True)
    return fill([np.asarray(ring)[:, ::-1].astype(np.int32) for ring in rings], shape)


def polygons(geometry: dict[str, Any]) -> list[list[list[list[int]]]]:
    return [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]


@in_tmp
@given(found=organoids())
def test_rois_cover_exactly_what_was_drawn(tmp_path: Path, found: Instances) -> None:
    path = tmp_path / "r.zip"
    write_rois(path, found, {1: "cyst"})
    rois = {int(roi.name): roi for roi in roifile.roiread(path)} if len(found) else {}
    assert sorted(rois) == sorted(found.ids.tolist())
    dense = found.to_dense()
    for index, number in enumerate(found.ids.tolist()):
        assert (drawn(rois[number], found.shape) == dense[index]).all()


@in_tmp
@given(found=organoids())
def test_geojson_covers_exactly_what_was_drawn(tmp_path: Path, found: Instances) -> None:
    path = tmp_path / "g.geojson"
    write_geojson(path, found, {1: "cyst"}, "a.tif")
    features = json.loads(path.read_text())["features"]
    dense = found.to_dense()
    assert len({f["id"] for f in features}) == len(found)
    for index, feature in enumerate(features):
        assert feature["properties"]["name"] == str(found.ids[index])
        rings = [r for polygon in polygons(feature["geometry"]) for r in polygon]
        assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in rings)
        flipped = [np.array(ring[:-1], np.int32)[:, ::-1] for ring in rings]
        assert (fill(flipped, found.shape) == dense[index]).all()


def test_geojson_polygons_are_valid_and_turn_as_rfc_7946_asks(tmp_path: Path) -> None:
    shapely = pytest.importorskip("shapely.geometry", reason="shapely is missing")
    rng = np.random.default_rng(0)
    masks = [Mask.from_bits(rng.random((12, 12)) < 0.6, 3, 3) for _ in range(60)]
    found = Instances.from_masks((20, 20), [m for m in masks if m is not None])
    write_geojson(tmp_path / "g.geojson", found)
    for feature in json.loads((tmp_path / "g.geojson").read_text())["features"]:
        area = 0.0
        for rings in polygons(feature["geometry"]):
            polygon = shapely.Polygon(rings[0], rings[1:])
            assert polygon.is_valid
            assert polygon.exterior.is_ccw
            assert not any(ring.is_ccw for ring in polygon.interiors)
            area += polygon.area
        assert area == feature["properties"]["measurements"]["Area px^2"]


def test_the_same_organoids_give_the_same_archive(tmp_path: Path) -> None:
    found = Instances.from_masks((50, 50), [Mask(3, 4, np.ones((5, 6), bool))], scores=[0.5])
    write_rois(tmp_path / "a.zip", found, {1: "big\ncyst"}, position=7)
    write_rois(tmp_path / "b.zip", found, {1: "big\ncyst"}, position=7)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert (roi.position, roi.name) == (7, "0001")
    assert roi.properties == {"score": 0.5, "class": "big cyst"}


def test_an_image_too_large_for_imagej_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    found = Instances.from_masks((40_000, 10), [Mask(39_990, 0, np.ones((5, 5), bool))])
    with pytest.raises(DataError, match="GeoJSON"):
        write_rois(tmp_path / "r.zip", found)
    assert list(tmp_path.iterdir()) == []


def test_more_organoids_than_16_bits_can_number(tmp_path: Path) -> None:
    count = 66_000
    masks = [Mask(i // 300, i % 300, np.ones((1, 1), bool)) for i in range(count)]
    found = Instances.from_masks((220, 300), masks)
    write_rois(tmp_path / "r.zip", found)
    with zipfile.ZipFile(tmp_path / "r.zip") as bundle:
        assert len(bundle.namelist()) == count
    write_geojson(tmp_path / "g.geojson", found)
    assert len(json.loads((tmp_path / "g.geojson").read_text())["features"]) == count


def test_no_organoid_is_an_empty_file_not_an_error(tmp_path: Path) -> None:
    write_rois(tmp_path / "r.zip", Instances.empty((5, 5)))
    write_geojson(tmp_path / "g.geojson", Instances.empty((5, 5)))
    assert json.loads((tmp_path / "g.geojson").read_text())["features"] == []
