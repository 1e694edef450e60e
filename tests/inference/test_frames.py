"""What is found under the paths that a person names, and which pictures it gives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as Pillow

from organoseg.core import DataError, UsageError
from organoseg.inference.frames import Frame, focus, frames
from organoseg.inference.items import Failure, make_plan
from organoseg.inference.settings import PredictSettings


def noise(seed: int, shape: tuple[int, ...] = (24, 30), dtype: Any = np.uint8) -> Any:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def read(
    *sources: Path | str, out: Path = Path("nowhere"), **how: Any
) -> tuple[dict[str, Frame], list[Failure]]:
    """All pictures by key, and what failed."""
    settings = PredictSettings(**how)
    plan = make_plan(sources, settings, out)
    failures = list(plan.failures)
    found = [f for item in plan.items for f in frames(item, settings, failures.append)]
    return {frame.key: frame for frame in found}, failures


def test_files_of_every_kind_and_depth_are_found_and_named_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "a" / "b" / "grey.tif", noise(0, dtype=np.uint16))
    Pillow.fromarray(noise(1, (24, 30, 3))).save(tmp_path / "a" / "colour.png")
    Pillow.fromarray(noise(2)).save(tmp_path / "größe 1.jpg")
    tifffile.imwrite(tmp_path / "float.tif", noise(3).astype(np.float32))
    found, failures = read(tmp_path)
    assert not failures
    assert list(found) == ["a/b/grey.tif", "a/colour.png", "float.tif", "größe 1.jpg"]
    assert found["a/b/grey.tif"].image.pixels.dtype == np.uint16
    assert found["a/colour.png"].image.shape == (24, 30)
    one, _ = read(tmp_path / "float.tif")
    assert list(one) == ["float.tif"]
    two, _ = read(tmp_path / "a" / "b", tmp_path / "float.tif")
    assert list(two) == ["a/b/grey.tif", "float.tif"]
    pattern, _ = read(str(tmp_path / "**" / "*.tif"))
    assert sorted(pattern) == ["a/b/grey.tif", "float.tif"]


def test_focus_planes_in_files_of_their_own_are_one_picture_in_focus(tmp_path: Path) -> None:
    sharp = noise(0, (64, 64))
    for z in range(3):
        blurred = np.full_like(sharp, 100) if z != 1 else sharp
        tifffile.imwrite(tmp_path / f"P_p00_z{z:02d}_0_A01f00d0.TIF", blurred)
    found, _ = read(tmp_path)
    (frame,) = found.values()
    assert np.array_equal(frame.image.pixels, sharp)
    assert frame.fields["z"] == "focus 1"
    assert (frame.fields["plate"], frame.fields["well"]) == ("P", "A01")
    assert frame.image.group == "P/A01"
    each, _ = read(tmp_path, z="each")
    assert [key[-3:] for key in each] == [".z0", ".z1", ".z2"]
    highest, _ = read(tmp_path, z="max")
    expected = np.maximum(sharp, 100)
    assert np.array_equal(next(iter(highest.values())).image.pixels, expected)


def test_frames_of_a_time_lapse_come_one_by_one(tmp_path: Path) -> None:
    stack = noise(0, (12, 24, 30))
    tifffile.imwrite(tmp_path / "film.tif", stack, imagej=True, metadata={"axes": "TYX"})
    found, _ = read(tmp_path)
    assert list(found) == [f"film.tif.t{t:02d}" for t in range(12)]
    assert [f.fields["time"] for f in found.values()] == [str(t) for t in range(12)]
    assert {f.fields["series"] for f in found.values()} == {"film.tif"}
    assert np.array_equal(found["film.tif.t07"].image.pixels, stack[7])
    for t in (1, 2, 10):
        tifffile.imwrite(tmp_path / f"ch01_B_03_t{t}.tif", noise(t))
    files, _ = read(tmp_path, grammar="imagexpress")
    series = {k: f.fields for k, f in files.items() if k.startswith("ch01")}
    assert [f["time"] for f in series.values()] == ["1", "2", "10"]
    assert len({f["series"] for f in series.values()}) == 1


def test_the_channel_has_to_be_said_where_there_are_several(tmp_path: Path) -> None:
    stack = noise(0, (3, 24, 30))
    tifffile.imwrite(tmp_path / "c.tif", stack, imagej=True, metadata={"axes": "CYX"})
    found, failures = read(tmp_path)
    assert not found
    assert "--channel with a number from 0 to 2" in failures[0].reason
    chosen, _ = read(tmp_path, channel="2")
    assert np.array_equal(chosen["c.tif"].image.pixels, stack[2])
    for name in ("01", "02"):
        tifffile.imwrite(tmp_path / f"ch{name}_A_1_t1.tif", noise(int(name)))
    files, _ = read(tmp_path, channel="02")
    assert [k for k in files if k.startswith("ch")] == ["ch02_A_1_t1.tif"]


def test_plates_and_bare_arrays_in_zarr_are_read(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "plate.zarr", mode="w", zarr_format=2)
    well = root.create_group("B/3/0")
    well.create_array("0", data=noise(0, (2, 24, 30)), chunks=(1, 24, 30))
    axes = [{"name": "t", "type": "time"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    well.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    root["B/3"].attrs["well"] = {"images": [{"path": "0"}]}
    root.attrs["plate"] = {"name": "P"}
    found, _ = read(tmp_path)
    assert [f.fields["well"] for f in found.values()] == ["B03", "B03"]
    assert {f.image.pixel_size for f in found.values()} == {(0.5, 0.5)}
    direct, _ = read(tmp_path / "plate.zarr")
    assert list(direct) == list(found)
    mine, _ = read(tmp_path, pixel_size=2.0)
    assert {f.image.pixel_size for f in mine.values()} == {(2.0, 2.0)}


def test_a_chunk_that_is_not_there_is_a_loss_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(32, 32), chunks=(16, 16), dtype="u1")
    array[:16] = noise(0, (16, 32))
    found, (failure,) = read(tmp_path)
    assert not found
    assert "--absent fill" in failure.reason
    (frame,) = read(tmp_path, absent="fill")[0].values()
    assert np.array_equal(frame.image.pixels, array[:])


def test_a_broken_store_in_a_folder_costs_itself(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", noise(0))
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr" / "zarr.json").write_text("{")
    found, failures = read(tmp_path)
    assert list(found) == ["good.tif"]
    assert [Path(f.file).name for f in failures] == ["bad.zarr"]


def test_an_array_without_sides_and_a_folder_that_is_closed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "good.tif", noise(0))
    zarr.create_array(tmp_path / "point.zarr", shape=(), dtype="u1")
    closed = tmp_path / "closed"
    closed.mkdir()
    inner = os.scandir

    def scandir(path: Any) -> Any:
        # root may read what nobody may, so permissions alone would not do.
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return inner(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found, failures = read(tmp_path)
    assert list(found) == ["good.tif"]
    reasons = {Path(f.file).name: f.reason for f in failures}
    assert "Permission denied" in reasons["closed"]
    assert "shape ()" in reasons["point.zarr"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "closed.tif", noise(0))
    (tmp_path / "closed.tif").chmod(0)
    found, (failure,) = read(tmp_path)
    assert not found
    assert "permission" in failure.reason


def test_results_of_earlier_runs_are_no_images(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "good.tif", noise(0))
    old = tmp_path / "old results"
    for folder in ("labels", "parts"):
        (old / folder).mkdir(parents=True)
    (old / "predict.json").write_text("{}")
    tifffile.imwrite(old / "labels" / "good.tif.tif", noise(0))
    found, _ = read(tmp_path)
    assert list(found) == ["good.tif"]


def test_nothing_to_do_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=tmp_path.name):
        read(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "none")
    tifffile.imwrite(tmp_path / "ch01_A_1_t1.tif", noise(0))
    with pytest.raises(UsageError, match="channel 07"):
        read(tmp_path, channel="07")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"z": "sharp"}, "z-stack"),
        ({"pixel_size": 0.0}, "pixel-size"),
        ({"score_threshold": 1.5}, "score"),
        ({"grammar": "("}, "grammar"),
        ({"tile": 100}, "Tiles"),
        ({"absent": "guess"}, "absent"),
        ({"batch": 0, "tile": 1024}, "batches"),
    ],
)
def test_impossible_settings_are_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PredictSettings(**how)


def test_focus_tells_sharp_from_blurred() -> None:
    from scipy.ndimage import gaussian_filter

    sharp = noise(0, (600, 500)).astype(np.float32)
    assert focus(sharp) > 2 * focus(gaussian_filter(sharp, 2))
