"""Readers and writers: what napari's own lose is kept, and what is not what it should be is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from organoseg.core import DataError, Instances, Mask, UsageError
from organoseg.io import read_instances, write_instances

pytest.importorskip("pandas", reason="pandas is not installed (pip install 'organoseg[napari]')")

from organoseg_napari import ome_zarr, readers, samples, writers
from organoseg_napari.conversion import (
    KEY,
    as_image,
    instances_of,
    labels_layer,
    pixel_size,
    planes,
)


def disc(y: int, x: int, radius: int, shape: tuple[int, int] = (64, 64)) -> Mask:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    mask = Mask.from_bits((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)
    assert mask is not None
    return mask


@pytest.fixture
def overlapping() -> Instances:
    """Two that overlap, and one far away, with ids that are not 1..N."""
    masks = [disc(20, 20, 10), disc(20, 30, 10), disc(50, 50, 6)]
    return Instances.from_masks(
        (64, 64), masks, scores=[0.9, 0.6, 0.8], ids=[7, 3, 12], sources=["model:a"] * 3
    )


def same(a: Instances, b: Instances) -> bool:
    order_a, order_b = np.argsort(a.ids), np.argsort(b.ids)
    a, b = a.select(order_a), b.select(order_b)
    return (
        a.ids.tolist() == b.ids.tolist()
        and bool(np.array_equal(a.to_dense(), b.to_dense()))
        and bool(np.allclose(a.scores, b.scores))
    )


def test_saving_and_opening_keeps_overlaps_scores_and_ids(
    overlapping: Instances, tmp_path: Path
) -> None:
    data, state, _ = labels_layer([overlapping], "well", names=("well.tif",))
    writers.write_instances_json(tmp_path / "out.json", data, state)
    assert same(read_instances(tmp_path / "out.json")["well.tif"], overlapping)
    reader = readers.instances_reader(str(tmp_path / "out.json"))
    assert reader is not None
    ((again, facts, kind),) = reader(str(tmp_path / "out.json"))
    assert kind == "labels"
    assert np.array_equal(again, data)
    assert same(facts["metadata"][KEY]["instances"][0], overlapping)
    assert facts["features"]["score"].round(3).tolist() == [0.9, 0.6, 0.8]


def test_a_painted_pixel_goes_to_whom_it_was_given_and_hidden_parts_stay(
    overlapping: Instances,
) -> None:
    data, state, _ = labels_layer([overlapping], "well")
    painted = data.copy()
    painted[20, 35:64] = 3  # a line out of the one that lies beneath
    painted[painted == 12] = 0  # erased
    painted[60, 5:9] = 40  # new
    (now,) = instances_of(painted, state)
    masks = dict(zip(now.ids.tolist(), now.to_dense(), strict=True))
    assert set(masks) == {3, 7, 40}
    assert np.array_equal(masks[7], overlapping.to_dense()[0]), "not touched, so not cut"
    beneath = overlapping.to_dense()[1].copy()
    beneath[20, 35:64] = True
    assert np.array_equal(masks[3], beneath), "what others hide of it is still there"
    sources = dict(zip(now.ids.tolist(), now.sources, strict=True))
    assert sources == {7: "model:a", 3: "model:a edited", 40: "human"}


def test_an_untouched_layer_gives_back_exactly_what_it_was_made_of(overlapping: Instances) -> None:
    data, state, _ = labels_layer([overlapping], "well")
    assert instances_of(data, state) == [overlapping]


def test_layers_of_other_makers_take_their_scores_along(tmp_path: Path) -> None:
    import pandas as pd

    data = np.zeros((8, 9), np.int64)
    data[2:4, 2:5], data[6, 6] = 5, 70_000
    state = {"name": "cells", "features": pd.DataFrame({"index": [5], "score": [0.25]})}
    writers.write_instances_json(tmp_path / "o.json", data, state)
    found = read_instances(tmp_path / "o.json")["cells"]
    assert dict(zip(found.ids.tolist(), found.scores.tolist(), strict=True)) == {
        5: 0.25,
        70_000: 1.0,
    }


def test_an_image_without_organoids_goes_both_ways(tmp_path: Path) -> None:
    data, state, _ = labels_layer([Instances.empty((5, 6))], "bare", names=("bare.png",))
    assert "index" in state["features"].columns
    writers.write_instances_json(tmp_path / "o.json", data, state)
    layers = readers.read_instances_json(tmp_path / "o.json")
    assert not layers[-1][0].any()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), float), np.full((4, 4), -1)])
def test_what_is_no_label_image_is_refused(wrong: Any, tmp_path: Path) -> None:
    for write in (writers.write_instances_json, writers.write_label_tiff):
        with pytest.raises(DataError, match="whole numbers"):
            write(tmp_path / "o.json", wrong, {"name": "x"})


@pytest.mark.parametrize("top", [9, 70_000])
def test_tiff_keeps_pixel_size_and_scores(top: int, tmp_path: Path) -> None:
    import pandas as pd
    import tifffile

    data = np.zeros((8, 9), np.int32)
    data[1:3, 1:3] = top
    features = pd.DataFrame({"index": [top], "score": [0.5], "note": ["=cmd()"]})
    units = ("micrometer", "micrometer")
    state = {"name": "x", "scale": (2.0, 4.0), "units": units, "features": features}
    written = writers.write_label_tiff(tmp_path / "x.tif", data, state)
    assert [Path(p).name for p in written] == ["x.tif", "x.csv"]
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        tags = file.pages[0].tags
        across, per = tags["XResolution"].value
        unit = 1e4 if tags["ResolutionUnit"].value == 3 else 1.0
        assert across / per / unit == pytest.approx(1 / 4)
        assert file.asarray().max() == top
    (row,) = csv.DictReader((tmp_path / "x.csv").open())
    assert (row["score"], row["note"]) == ("0.5", "'=cmd()")


@pytest.mark.parametrize(("shape", "axes"), [((40, 700), "yx"), ((3, 40, 50), "tyx")])
def test_ome_zarr_is_valid_and_comes_back_whole(
    shape: tuple[int, ...], axes: str, tmp_path: Path
) -> None:
    import pandas as pd
    import zarr
    from ome_zarr_models.v05 import ImageLabel

    data = np.random.default_rng(0).integers(0, 90_000, shape).astype(np.uint32)
    units = (*("pixel",) * (len(shape) - 2), "micrometer", "micrometer")
    scale = (*(1.0,) * (len(shape) - 2), 0.5, 0.25)
    features = pd.DataFrame({"index": [1, 2], "score": [0.5, np.nan]})
    state = {"name": "x", "scale": scale, "units": units, "features": features}
    state["translate"] = (*(0.0,) * (len(shape) - 2), 3.0, 0.0)
    writers.write_ome_zarr(tmp_path / "x.zarr", data, state)
    ImageLabel.from_zarr(zarr.open_group(tmp_path / "x.zarr", mode="r"))
    reader = readers.ome_zarr_reader(str(tmp_path / "x.zarr"))
    assert reader is not None
    ((again, facts, kind),) = reader(str(tmp_path / "x.zarr"))
    assert kind == "labels"
    assert isinstance(again, np.ndarray), "a copy in memory: painting on a lazy array is lost"
    assert np.array_equal(again, data)
    assert (facts["scale"], facts["units"]) == (scale, units)
    assert facts["translate"] == state["translate"]
    assert facts["axis_labels"] == tuple(axes)
    assert facts["features"]["score"].iloc[0] == 0.5
    with pytest.raises(UsageError, match="already"):
        writers.write_ome_zarr(tmp_path / "x.zarr", data, state)
    assert [p.name for p in tmp_path.glob(".*partial")] == []


def test_labels_of_older_ome_zarr_are_read(tmp_path: Path) -> None:
    import zarr

    root = zarr.open_group(tmp_path / "i.zarr", mode="w", zarr_format=2)
    for path in ("", "labels/cells"):
        group = root.require_group(path) if path else root
        group.create_array("0", data=np.arange(30, dtype=np.uint16).reshape(1, 5, 6))
        scale = [{"type": "scale", "scale": [1, 2.0, 3.0]}]
        axes = [{"name": "c"}, *({"name": a, "unit": "micrometer"} for a in "yx")]
        scales = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        group.attrs["multiscales"] = [scales]
    root["labels"].attrs["labels"] = ["cells", "../../outside", "not there"]
    root["labels/cells"].attrs["image-label"] = {"version": "0.4"}
    (tmp_path / "outside").mkdir()
    image, labels = readers.read_ome_zarr(tmp_path / "i.zarr")
    assert image[2] == "image"
    assert image[1]["scale"] == (2.0, 3.0), "the channel axis becomes layers"
    assert labels[1]["scale"] == (1.0, 2.0, 3.0)
    assert labels[0].max() == 29


def test_a_damaged_label_store_says_so(tmp_path: Path) -> None:
    data = np.ones((600, 600), np.uint16)
    writers.write_ome_zarr(tmp_path / "x.zarr", data, {"name": "x"})
    chunk = next(p for p in (tmp_path / "x.zarr" / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-3] + b"zzz")
    with pytest.raises(DataError, match="cannot be read"):
        readers.read_ome_zarr(tmp_path / "x.zarr")
    (tmp_path / "x.zarr" / "0" / "zarr.json").write_text("{")
    with pytest.raises(DataError, match="metadata"):
        readers.read_ome_zarr(tmp_path / "x.zarr")


def test_other_files_are_left_to_other_readers(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "plain.zarr").mkdir()
    assert readers.instances_reader(str(tmp_path / "settings.json")) is None
    assert readers.instances_reader([str(tmp_path / "settings.json")]) is None
    assert readers.instances_reader(str(tmp_path / "absent.json")) is None
    assert readers.ome_zarr_reader(str(tmp_path / "plain.zarr")) is None
    assert ome_zarr.label_groups(tmp_path) == []


def test_the_image_beside_the_file_is_opened_with_it(
    overlapping: Instances, tmp_path: Path
) -> None:
    import tifffile

    (tmp_path / "plate").mkdir()
    tifffile.imwrite(tmp_path / "plate" / "w.tif", np.ones((64, 64), np.uint8))
    write_instances(tmp_path / "plate" / "instances.json", [("w.tif", overlapping)])
    kinds = [layer[2] for layer in readers.read_instances_json(tmp_path / "plate/instances.json")]
    assert kinds == ["image", "labels"]
    write_instances(tmp_path / "plate" / "bad.json", [("../../etc/w.tif", overlapping)])
    kinds = [layer[2] for layer in readers.read_instances_json(tmp_path / "plate/bad.json")]
    assert kinds == ["labels"]


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        ((1.0, 2.0), ("micrometer", "micrometer"), (1.0, 2.0)),
        ((5.0, 500.0, 250.0), ("second", "nm", "nm"), (0.5, 0.25)),
        ((1.0, 1.0), ("pixel", "pixel"), None),
        ((1.0, 1.0), None, None),
        ((0.0, 1.0), ("mm", "mm"), None),
    ],
)
def test_pixel_size_is_in_micrometres_or_unknown(scale: Any, units: Any, expected: Any) -> None:
    assert pixel_size(scale, units) == expected


def test_planes_of_stacks_colour_and_levels() -> None:
    stack = np.zeros((2, 3, 8, 9), np.uint8)
    assert [p.shape for p in planes(stack, "s")] == [(8, 9)] * 6
    assert [p.shape for p in planes(np.zeros((8, 9, 3)), "c", rgb=True)] == [(8, 9, 3)]
    levels = [stack, stack[..., ::2, ::2]]
    assert {p.shape for p in planes(levels, "m", multiscale=True)} == {(8, 9)}
    with pytest.raises(DataError, match="no plane"):
        planes(np.zeros((0, 5)), "e")


def test_pixels_become_what_models_read() -> None:
    colour = np.zeros((2, 2, 4), np.uint8)
    colour[..., 1] = 100
    assert as_image(colour, None, "c").pixels[0, 0] == pytest.approx(58.7, abs=0.01)
    for dtype, kept in ((np.int64, np.uint16), (bool, np.uint8), (np.float64, np.float32)):
        assert as_image(np.ones((2, 2), dtype), None, "x").pixels.dtype == kept
    assert as_image(np.full((2, 2), -5), None, "x").pixels.dtype == np.float32


def test_samples_are_what_they_say() -> None:
    ((pixels, state, _),) = samples.organoids()
    image, truth = samples.outlined_organoids()
    assert np.array_equal(image[0], pixels)
    assert image[1]["scale"] == truth[1]["scale"] == state["scale"]
    (known,) = truth[1]["metadata"][KEY]["instances"]
    assert (known.overlap_fraction() > 0).any(), "a sample without overlap shows nothing of ours"
    ((stack, facts, _),) = samples.time_lapse()
    assert stack.ndim == len(facts["scale"]) == len(facts["axis_labels"]) == 3
