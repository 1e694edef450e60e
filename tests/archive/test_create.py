"""Making archives: valid OME-Zarr, stacks put together, kills survived, bad files named."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from organoseg.archive import Archive, create_archive, create_archive_from_images
from organoseg.archive import build as building
from organoseg.core import DataError, Image, RunError, UsageError, pixel_hash
from organoseg.core.intensity import smallest_level


def pixels(seed: int, shape: tuple[int, ...] = (24, 30), dtype: Any = np.uint8) -> Any:
    return np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and "catalogue" not in p.name
    }


@pytest.fixture
def focus(tmp_path: Path) -> Path:
    """Two wells of three focus planes in files of their own."""
    folder = tmp_path / "plate"
    folder.mkdir()
    for n in range(6):
        name = f"P_p00_z{n % 3:02d}_0_A0{1 + n // 3}f00d0.TIF"
        tifffile.imwrite(folder / name, pixels(n))
    return folder


def test_focus_planes_in_files_of_their_own_become_one_stack(focus: Path, tmp_path: Path) -> None:
    archive = create_archive([focus], tmp_path / "a.zarr")
    assert [(r.axes, r.shape) for r in archive.arrays.values()] == [("zyx", (3, 24, 30))] * 2
    assert archive.entries[4].name == "P_p00_z00-02_0_A02f00d0.TIF[z=1]"
    assert archive.entries[4].group == "P/A02"
    assert np.array_equal(archive.read(4).pixels, pixels(4))


def test_a_bad_or_odd_plane_leaves_its_stack_without_it(focus: Path, tmp_path: Path) -> None:
    (focus / "P_p00_z01_0_A01f00d0.TIF").write_bytes(b"II*\0")
    tifffile.imwrite(focus / "P_p00_z02_0_A02f00d0.TIF", pixels(9, (20, 20)))
    archive = create_archive([focus], tmp_path / "a.zarr")
    assert [Path(file).name for file, _ in archive.errors] == ["P_p00_z01_0_A01f00d0.TIF"]
    shapes = sorted(r.shape for r in archive.arrays.values())
    assert shapes == [(2, 24, 30), (2, 24, 30), (20, 20)]
    assert {e.pixel_hash for e in archive.entries} == {
        pixel_hash(p) for p in (*map(pixels, (0, 2, 3, 4)), pixels(9, (20, 20)))
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_images_are_valid_ome_zarr_with_levels_in_shards(tmp_path: Path, dtype: Any) -> None:
    import zarr
    from ome_zarr_models.v05 import Image as OmeImage

    stack = pixels(0, (2, 1100, 700), dtype)
    image = Image(stack, "ZYX", pixel_size=(0.5, 0.25), name="s.tif", group="g")
    archive = create_archive_from_images([image], tmp_path / "a.zarr")
    group = zarr.open_group(archive.path / "images/00000000", mode="r")
    scales = OmeImage.from_zarr(group).ome_attributes.multiscales[0]
    assert [a.name for a in scales.axes] == ["z", "y", "x"]
    assert scales.datasets[1].coordinateTransformations[0].scale == [1.0, 1.0, 0.5]
    assert [group[str(n)].shape[1:] for n in range(3)] == [(1100, 700), (550, 350), (275, 175)]
    assert group["0"].chunks == (1, 512, 512)
    assert group["0"].shards == (1, 1536, 1024)
    assert np.array_equal(group["0"][:], stack)
    assert np.allclose(
        group["2"][1], smallest_level(stack[1]), atol=0 if dtype == np.float32 else 0.51
    )
    assert archive.entries[0].pixel_size == (0.5, 0.25)


def test_empty_regions_are_written_so_that_a_missing_one_is_a_loss(tmp_path: Path) -> None:
    dark = Image(np.zeros((1100, 700), np.uint8), name="dark")
    archive = create_archive_from_images([dark], tmp_path / "a.zarr")
    assert archive.check() == []
    shard = archive.path / "images/00000000/0/c/0/0"
    content = bytearray(shard.read_bytes())
    # The entry of inner chunk (1, 1) says "never written", with a checksum that fits.
    import google_crc32c

    start = len(content) - 4 - 16 * 6
    content[start + 16 * 3 : start + 16 * 4] = b"\xff" * 16
    content[-4:] = google_crc32c.value(bytes(content[start:-4])).to_bytes(4, "little")
    shard.write_bytes(content)
    archive = Archive.open(archive.path)
    with pytest.raises(DataError, match=r"Chunk c/0/0 \[1, 1\] of array images/00000000/0"):
        archive.crop(0, 600, 600, 20, 20)
    assert archive.crop(0, 0, 0, 20, 20).max() == 0


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_pages_of_a_tiff_are_read_as_the_whole_is(tmp_path: Path, photometric: str) -> None:
    from organoseg.io import read_image

    shape = (5, 24, 30, 3) if photometric == "rgb" else (5, 24, 30)
    tifffile.imwrite(tmp_path / "s.tif", pixels(0, shape), photometric=photometric)
    archive = create_archive([tmp_path / "s.tif"], tmp_path / "a.zarr")
    whole = read_image(tmp_path / "s.tif")
    assert len(archive) == 5
    assert all(np.array_equal(archive.read(n).pixels, whole.pixels[n]) for n in range(5))


def test_hyperstacks_keep_their_axes(tmp_path: Path) -> None:
    shape = (2, 3, 2, 24, 30)
    tifffile.imwrite(tmp_path / "h.tif", pixels(0, shape), imagej=True, metadata={"axes": "TZCYX"})
    archive = create_archive([tmp_path / "h.tif"], tmp_path / "a.zarr")
    (array,) = archive.arrays.values()
    assert (array.axes, array.shape) == ("tczyx", (2, 2, 3, 24, 30))
    place = [e.name for e in archive.entries].index("h.tif[t=1,c=0,z=2]")
    assert np.array_equal(archive.read(place).pixels, pixels(0, shape)[1, 2, 0])


def test_stores_of_other_makers_are_chunked_anew(tmp_path: Path) -> None:
    import zarr

    root = zarr.open_group(tmp_path / "lab" / "old.zarr", mode="w", zarr_format=2)
    well = root.create_group("A/1/0")
    well.create_array("0", data=pixels(0, (3, 40, 50), np.uint16), chunks=(1, 40, 50))
    axes = [{"name": "z", "type": "space"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    well.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    root["A/1"].attrs["well"] = {"images": [{"path": "0"}]}
    root.attrs["plate"] = {"name": "P"}
    zarr.create_array(tmp_path / "lab" / "bare.zarr", data=pixels(1), chunks=(24, 30))
    Picture.fromarray(pixels(2)).save(tmp_path / "lab" / "file.png")
    archive = create_archive([tmp_path / "lab"], tmp_path / "a.zarr")
    assert [e.group for e in archive.entries] == ["bare", "P/A01", "P/A01", "P/A01", "lab"]
    assert archive.entries[1].pixel_size == (0.5, 0.5)
    assert np.array_equal(archive.read(3).pixels, pixels(0, (3, 40, 50), np.uint16)[2])
    again = create_archive([archive.path], tmp_path / "b.zarr", chunk=16)
    assert [(e.name, e.pixel_hash) for e in again.entries] == [
        (e.name, e.pixel_hash) for e in archive.entries
    ]


def test_missing_chunks_of_a_store_are_not_archived_as_zeros(tmp_path: Path) -> None:
    import zarr

    zarr.create_array(tmp_path / "s.zarr", data=pixels(0), chunks=(12, 30))
    (tmp_path / "s.zarr/c/1/0").unlink()
    with pytest.raises(DataError, match=r"c/1/0.*--absent fill"):
        create_archive([tmp_path / "s.zarr"], tmp_path / "a.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]
    filled = create_archive([tmp_path / "s.zarr"], tmp_path / "a.zarr", absent="fill")
    expected = pixels(0)
    expected[12:] = 0
    assert np.array_equal(filled.read(0).pixels, expected)


def test_a_damaged_chunk_is_never_filled(tmp_path: Path) -> None:
    import zarr

    zarr.create_array(tmp_path / "s.zarr", data=pixels(0), chunks=(12, 30))
    (tmp_path / "s.zarr/c/1/0").write_bytes(b"no chunk")
    with pytest.raises(DataError, match="c/1/0"):
        create_archive([tmp_path / "s.zarr"], tmp_path / "a.zarr", absent="fill")


def test_a_store_behind_a_url_becomes_an_archive_here(tmp_path: Path) -> None:
    import zarr

    root = zarr.open_group("memory://create/lab.zarr", mode="w")
    root.create_array("one", data=pixels(0, (3, 24, 30)), chunks=(1, 12, 30))
    archive = create_archive(["memory://create/lab.zarr"], tmp_path / "a.zarr")
    assert [np.array_equal(archive.read(z).pixels, pixels(0, (3, 24, 30))[z]) for z in range(3)]
    with pytest.raises(DataError, match="memory://create/none"):
        create_archive(["memory://create/none.zarr"], tmp_path / "b.zarr")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr"]


@pytest.mark.parametrize("what", ["line", "object", "empty"])
def test_stores_without_images_are_refused(tmp_path: Path, what: str) -> None:
    import zarr

    if what == "empty":
        zarr.create_group(tmp_path / "s.zarr")
    else:
        zarr.create_array(tmp_path / "s.zarr", shape=(5,) if what == "line" else (5, 5), dtype="c8")
    with pytest.raises(DataError, match=r"s\.zarr"):
        create_archive([tmp_path / "s.zarr"], tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


_KILLED = """
import os, signal, sys
from organoseg.archive import build, create_archive
if int(sys.argv[4]):
    write, calls = build.write_image, []
    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) == int(sys.argv[3]):
            if sys.argv[4] == "2":
                write(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*args, **kwargs)
    build.write_image = dies
create_archive([sys.argv[1]], sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_build_goes_on_and_ends_as_one_that_was_not(focus: Path, tmp_path: Path) -> None:
    Picture.fromarray(pixels(0)).save(focus / "a.png")
    tifffile.imwrite(focus / "b.tif", pixels(0))
    (focus / "c.tif").write_bytes(b"no image")
    whole = create_archive([focus], tmp_path / "whole.zarr")
    out = tmp_path / "a.zarr"
    for call, how in ((2, "1"), (1, "2"), (2, "1")):
        command = [sys.executable, "-c", _KILLED, str(focus), str(out), str(call), how]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert not out.exists()
    other = [focus / "a.png"]
    with pytest.raises(UsageError, match="another command") as caught:
        create_archive(other, out)
    assert str(focus) in str(caught.value.remedy)
    create_archive([focus], out)
    assert tree(out) == tree(whole.path)
    assert not (tmp_path / ".a.zarr.partial").exists()


def test_two_processes_never_make_one_archive_and_no_lock_is_left(tmp_path: Path) -> None:
    out, command = tmp_path / "a.zarr", {"sources": ["x"]}
    with (
        building.open_build(out, command),
        pytest.raises(UsageError, match="Another process"),
        building.open_build(out, command),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == [".a.zarr.partial"]


def test_a_torn_record_and_a_damaged_image_are_done_again(
    focus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = create_archive([focus], tmp_path / "whole.zarr")
    out, partial = tmp_path / "a.zarr", tmp_path / ".a.zarr.partial"
    with monkeypatch.context() as patch:
        patch.setattr(
            building.Build, "complete", lambda self: (_ for _ in ()).throw(OSError(28, "full"))
        )
        with pytest.raises(RunError, match="full") as caught:
            create_archive([focus], out)
    assert "same command" in str(caught.value.remedy)
    with (partial / "build.jsonl").open("a") as journal:
        journal.write('{"job": "x", "sto')
    # As a power cut leaves it: named in the record, empty on disk.
    (partial / "images/00000001/0/c/1/0/0").write_bytes(b"")
    create_archive([focus], out)
    assert tree(out) == tree(whole.path)


def test_the_same_picture_is_stored_once_and_listed(focus: Path, tmp_path: Path) -> None:
    (focus / "z").mkdir()
    for n in range(3):
        tifffile.imwrite(focus / "z" / f"P_p00_z0{n}_0_A01f00d0.TIF", pixels(n))
    archive = create_archive([focus], tmp_path / "a.zarr")
    assert len(archive) == 6
    name = "P_p00_z00-02_0_A01f00d0.TIF"
    assert archive.duplicates == {f"z/{name}": name}
