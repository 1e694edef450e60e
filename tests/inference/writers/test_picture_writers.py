"""Every kind of file of one picture: what was segmented comes back, under the same numbers."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import ome_zarr_models
import pytest
import roifile
import tifffile
import zarr
from geojson_pydantic import FeatureCollection
from hypothesis import HealthCheck, given, settings

from organoseg.core import DataError, Instances, Mask, RunError, UsageError
from organoseg.inference.writers import JOINT, PICTURE_WRITERS, USUAL, parse_writers
from organoseg.inference.writers import ome_zarr as module
from organoseg.inference.writers.ome_zarr import layers, read_ome_zarr, write_ome_zarr
from organoseg.io import read_image
from tests.core.strategies import organoids, same
from tests.core.test_outlines import fill
from tests.inference.writers.cases import apart, difficult, result

in_tmp = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8, deadline=None
)
pytestmark = pytest.mark.filterwarnings("ignore:.*lie wholly under others")


def by_number(found: Instances) -> Instances:
    return found.select(np.argsort(found.ids))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_every_writer_names_its_organoids_alike(tmp_path: Path) -> None:
    """The number in the table is the number everywhere."""
    made = result(difficult().replace(ids=np.arange(13, 0, -1)))
    paths = {}
    for writer in parse_writers(["all"]):
        paths[writer.name] = writer.path(tmp_path, made.key)
        writer.write(paths[writer.name], made)
        assert paths[writer.name].exists()
    assert not list(tmp_path.rglob(".tmp-*"))
    dense = {
        int(n): plane
        for n, plane in zip(made.instances.ids, made.instances.to_dense(), strict=True)
    }
    rois = {int(roi.name): roi for roi in roifile.roiread(paths["rois"])}
    features = {
        int(f["properties"]["name"]): f
        for f in json.loads(paths["geojson"].read_text())["features"]
    }
    layered = by_number(read_ome_zarr(paths["ome-zarr"]))
    assert set(rois) == set(features) == set(dense) == set(layered.ids.tolist())
    for number, plane in dense.items():
        rings = [
            np.asarray(ring)[:, ::-1].astype(np.int32)
            for ring in rois[number].coordinates(multi=True)
        ]
        assert iou(fill(rings, plane.shape), plane) == 1
        geometry = features[number]["geometry"]
        polygons = (
            [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        )
        lines = [np.array(ring[:-1], np.int32)[:, ::-1] for polygon in polygons for ring in polygon]
        assert iou(fill(lines, plane.shape), plane) == 1
    labels = tifffile.imread(paths["labels"])
    assert np.array_equal(labels, made.instances.render())
    assert read_image(paths["labels"]).pixel_size == pytest.approx((0.5, 0.5))


def test_geojson_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "g.geojson"
    PICTURE_WRITERS["geojson"].write(path, result(difficult()))
    collection = FeatureCollection.model_validate_json(path.read_text())
    assert len(collection.features) == len(difficult())
    assert {f.geometry.type for f in collection.features if f.geometry} == {
        "Polygon",
        "MultiPolygon",
    }


@in_tmp
@given(found=organoids())
def test_ome_zarr_labels_are_exact(tmp_path: Path, found: Instances) -> None:
    write_ome_zarr(tmp_path / "x.ome.zarr", result(found))
    assert same(read_ome_zarr(tmp_path / "x.ome.zarr"), by_number(found))


@given(found=organoids())
def test_layers_begin_with_the_label_image_and_repeat_nothing(found: Instances) -> None:
    made = layers(found)
    assert np.array_equal(made[0], found.render())
    depth = sum((layer > 0).astype(int) for layer in made)
    assert np.array_equal(depth, found.to_dense().sum(0))
    for above, below in pairwise(made):
        assert below.any()
        assert not ((above == 0) & (below > 0)).any()


@in_tmp
@given(found=organoids(max_count=1))
def test_label_tiff_is_exact_where_nothing_overlaps(tmp_path: Path, found: Instances) -> None:
    PICTURE_WRITERS["labels"].write(tmp_path / "l.tif", result(found))
    read = Instances.from_labels(tifffile.imread(tmp_path / "l.tif"))
    assert np.array_equal(read.to_dense(), by_number(found).to_dense())
    assert np.array_equal(read.ids, np.sort(found.ids))


def test_ome_zarr_is_valid_with_its_pixel_size_and_pyramid(tmp_path: Path) -> None:
    path = tmp_path / "x.ome.zarr"
    pixels = np.random.default_rng(0).integers(0, 999, (700, 1100)).astype(np.uint16)
    found = Instances.from_masks((700, 1100), [Mask(0, 0, np.ones((300, 400), bool))])
    write_ome_zarr(path, result(found, pixel_size=(0.5, 0.25), pixels=pixels))
    image = ome_zarr_models.open_ome_zarr(path)
    assert type(image).__name__ == "Image"
    label = ome_zarr_models.open_ome_zarr(path / "labels" / "organoids")
    assert type(label).__name__ == "ImageLabel"
    group = zarr.open_group(path, mode="r")
    assert np.array_equal(group["0"][:], pixels)
    scales = dict(group["labels/organoids"].attrs)["ome"]["multiscales"][0]
    assert [d["coordinateTransformations"][0]["scale"] for d in scales["datasets"]] == [
        [0.5, 0.25], [1.0, 0.5], [2.0, 1.0],
    ]  # fmt: skip
    assert group["labels/organoids/2"].shape == group["2"].shape == (175, 275)
    assert set(np.unique(group["labels/organoids/2"][:])) == {0, 1}


def test_ome_zarr_is_written_anew_over_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.ome.zarr"
    write_ome_zarr(path, result(difficult()))
    write_ome_zarr(path, result(apart()))
    assert len(read_ome_zarr(path)) == len(apart())
    assert [p.name for p in tmp_path.iterdir()] == ["x.ome.zarr"]


def test_a_folder_that_fails_halfway_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.ome.zarr"
    write_ome_zarr(path, result(apart()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_label_attrs", full)
    with pytest.raises(RunError, match="No space left"):
        write_ome_zarr(path, result(difficult()))
    assert len(read_ome_zarr(path)) == len(apart())
    assert [p.name for p in tmp_path.iterdir()] == ["x.ome.zarr"]


@pytest.mark.parametrize("spoil", ["zarr.json", "labels/zarr.json", "labels/organoids/zarr.json"])
def test_a_damaged_ome_zarr_is_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "x.ome.zarr"
    write_ome_zarr(path, result(apart()))
    (path / spoil).unlink()
    with pytest.raises(DataError):
        read_ome_zarr(path)


def test_more_organoids_than_16_bits_can_number(tmp_path: Path) -> None:
    count = 66_000
    masks = [Mask(i // 300, i % 300, np.ones((1, 1), bool)) for i in range(count)]
    made = result(Instances.from_masks((220, 300), masks))
    PICTURE_WRITERS["labels"].write(tmp_path / "l.tif", made)
    assert np.array_equal(tifffile.imread(tmp_path / "l.tif").ravel(), np.arange(1, count + 1))
    write_ome_zarr(tmp_path / "x.ome.zarr", made)
    assert read_ome_zarr(tmp_path / "x.ome.zarr").ids.tolist() == list(range(1, count + 1))


def test_names_that_write_understands() -> None:
    assert [w.name for w in parse_writers(USUAL)] == ["labels", "overlay"]
    assert [w.name for w in parse_writers(["rois", "json", "rois"])] == ["rois"]
    assert [w.name for w in parse_writers(["all"])] == list(PICTURE_WRITERS)
    assert parse_writers(JOINT) == ()
    with pytest.raises(UsageError, match=r"'roi'.*geojson") as caught:
        parse_writers(["labels", "roi"])
    assert all(name in str(caught.value) for name in (*JOINT, *PICTURE_WRITERS, "all"))


def test_files_of_a_picture_lie_under_their_kind(tmp_path: Path) -> None:
    made = {name: writer.path(tmp_path, "p 1/ä.tif") for name, writer in PICTURE_WRITERS.items()}
    assert {os.fspath(path.relative_to(tmp_path)) for path in made.values()} == {
        "labels/p 1/ä.tif.tif", "ome-zarr/p 1/ä.tif.ome.zarr", "rois/p 1/ä.tif.zip",
        "geojson/p 1/ä.tif.geojson", "overlay/p 1/ä.tif.png",
    }  # fmt: skip
