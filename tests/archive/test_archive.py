"""The unlabelled archive: what goes in comes out, damage is noticed, nothing is half made."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from organoseg.archive import (
    Archive,
    FolderArchive,
    create_archive,
    create_archive_from_images,
)
from organoseg.core import DataError, Image, RunError, UsageError


def pixels(seed: int, shape: tuple[int, ...] = (40, 56), dtype: Any = np.uint8) -> Any:
    values = np.random.default_rng(seed).integers(0, 250, shape)
    return values.astype(dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two wells with three pictures, one of them twice, and a broken file."""
    source = tmp_path / "source"
    for well in ("A01", "A02"):
        (source / well).mkdir(parents=True)
    Picture.fromarray(pixels(0)).save(source / "A01" / "one.png")
    tifffile.imwrite(source / "A01" / "two.tif", pixels(1, dtype=np.uint16))
    Picture.fromarray(pixels(2)).save(source / "A02" / "one.png")
    tifffile.imwrite(source / "A02" / "twin.tif", pixels(0))
    return source


def spoil(path: Path) -> None:
    path.write_bytes(b"not an image")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """One 100 x 70 image in chunks of 8 and shards of 64, and a small one."""
    images = [Image(pixels(0, (100, 70)), name="large"), Image(pixels(1, (10, 12)), name="small")]
    return create_archive_from_images(images, tmp_path_factory.mktemp("a") / "a.zarr", chunk=8)


def test_a_folder_becomes_an_archive_that_gives_it_back(folder: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    out = tmp_path / "new" / "a.zarr"
    create_archive([folder], out, progress=lambda done, total: steps.append((done, total)))
    archive = Archive.open(out)
    assert [entry.name for entry in archive.entries] == [
        "A01/one.png",
        "A01/two.tif",
        "A02/one.png",
    ]
    assert [entry.group for entry in archive.entries] == ["A01", "A01", "A02"]
    assert archive.duplicates == {"A02/twin.tif": "A01/one.png"}
    assert archive.errors == ()
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    two = archive.read(1)
    assert two.pixels.dtype == np.uint16
    assert np.array_equal(two.pixels, pixels(1, dtype=np.uint16))
    assert two.identity == archive.entries[1].pixel_hash
    assert archive.check() == []
    assert [path.name for path in out.parent.iterdir()] == ["a.zarr"], "nothing left beside it"


def test_a_bad_file_costs_one_file(folder: Path, tmp_path: Path) -> None:
    spoil(folder / "A01" / "two.tif")
    (folder / "A02" / "=one.png").write_bytes(b"")
    archive = create_archive([folder], tmp_path / "a.zarr")
    assert len(archive) == 2
    files, reasons = zip(*archive.errors, strict=True)
    assert [Path(file).name for file in files] == ["two.tif", "=one.png"]
    assert all(reasons)


def test_a_whole_zarr_reader_sees_plain_arrays(folder: Path, tmp_path: Path) -> None:
    import zarr

    archive = create_archive([folder], tmp_path / "a.zarr")
    array = zarr.open_group(archive.path, mode="r")["images/00000000/0"]
    assert np.array_equal(array[:], pixels(0))
    assert array.metadata.dimension_names == ("y", "x")


def test_planes_of_a_stack_are_images_of_one_group(tmp_path: Path) -> None:
    stack = Image(pixels(0, (3, 20, 30)), axes="ZYX", name="s.tif", group="P/A01")
    archive = create_archive_from_images([stack], tmp_path / "a.zarr")
    assert [entry.name for entry in archive.entries] == [f"s.tif[z={z}]" for z in range(3)]
    assert {entry.group for entry in archive.entries} == {"P/A01"}
    assert np.array_equal(archive.read(2).pixels, stack.pixels[2])


def test_images_with_nan_are_listed_not_stored(tmp_path: Path) -> None:
    bad = np.ones((8, 8), np.float32)
    bad[3, 3] = np.nan
    images = [Image(bad, name="bad"), Image(np.ones((8, 8), np.float32), name="good")]
    archive = create_archive_from_images(images, tmp_path / "a.zarr")
    assert [entry.name for entry in archive.entries] == ["good"]
    assert "NaN" in archive.errors[0][1]


@pytest.mark.parametrize("content", ["empty", "unreadable", "missing"])
def test_no_image_means_no_archive(tmp_path: Path, content: str) -> None:
    source = tmp_path / "source"
    if content != "missing":
        source.mkdir()
    if content == "unreadable":
        spoil(source / "a.tif")
    with pytest.raises(DataError):
        create_archive([source], tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    assert not list(tmp_path.glob(".*"))


def test_an_archive_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    out.mkdir()
    with pytest.raises(UsageError, match="exists already"):
        create_archive([folder], out)
    with pytest.raises(UsageError, match="chunk of 0"):
        create_archive([folder], tmp_path / "b.zarr", chunk=0)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(28, "No space left")])
def test_an_interrupted_build_leaves_nothing(tmp_path: Path, interruption: BaseException) -> None:
    def images() -> Any:
        yield Image(pixels(0), name="one")
        raise interruption

    with pytest.raises((KeyboardInterrupt, RunError)):
        create_archive_from_images(images(), tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_crop_is_the_reflected_image(stored: Archive, data: Any) -> None:
    index = data.draw(st.integers(0, 1))
    whole = stored.read(index).pixels
    y = data.draw(st.integers(0, whole.shape[0] - 1))
    x = data.draw(st.integers(0, whole.shape[1] - 1))
    h, w = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    piece = whole[y : y + h, x : x + w]
    missing = ((0, h - piece.shape[0]), (0, w - piece.shape[1]))
    crop = stored.crop(index, y, x, h, w)
    assert crop.shape == (h, w)
    assert np.array_equal(crop, np.pad(piece, missing, mode="reflect"))


@pytest.mark.parametrize("window", [(-1, 0, 4, 4), (0, 70, 4, 4), (0, 0, 0, 4)])
def test_a_crop_that_starts_outside_is_refused(stored: Archive, window: Any) -> None:
    with pytest.raises(DataError, match="does not start inside"):
        stored.crop(0, *window)


def test_a_handle_travels_to_another_process(stored: Archive) -> None:
    stored.crop(0, 0, 0, 8, 8)
    there = pickle.loads(pickle.dumps(stored))  # noqa: S301 (our own bytes)
    assert np.array_equal(there.crop(0, 5, 6, 40, 30), stored.crop(0, 5, 6, 40, 30))


def test_excluded_pictures_are_gone_under_every_name(stored: Archive) -> None:
    seen = stored.read(0).identity
    rest = stored.exclude({seen})
    assert [entry.name for entry in rest.entries] == ["small"]
    assert np.array_equal(rest.read(0).pixels, stored.read(1).pixels)
    with pytest.raises(DataError, match="also a labelled one"):
        rest.exclude({rest.entries[0].pixel_hash})


@pytest.fixture
def damaged(stored: Archive, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored.path, tmp_path / "copy.zarr"))


@pytest.mark.parametrize("how", ["missing", "flipped", "cut", "empty"])
def test_a_damaged_chunk_is_named_and_the_rest_is_readable(damaged: Path, how: str) -> None:
    chunk = damaged / "images" / "00000000" / "0" / "c" / "1" / "0"
    content = bytearray(chunk.read_bytes())
    if how == "missing":
        chunk.unlink()
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    else:
        chunk.write_bytes(content[:-5] if how == "cut" else b"")
    archive = Archive.open(damaged)
    assert archive.crop(0, 0, 0, 64, 30).shape == (64, 30)
    with pytest.raises(DataError, match=r"Chunk c/1/0 .*of array images/00000000/0 \(large\)"):
        archive.crop(0, 60, 0, 40, 64)
    problems = archive.check()
    assert len(problems) == 1
    assert "c/1/0" in problems[0]


def test_swapped_pixels_are_noticed_by_check(damaged: Path) -> None:
    chunks = damaged / "images" / "00000000" / "0" / "c"
    shutil.copy(chunks / "0" / "0", chunks / "1" / "0")
    assert "not the pixels that were stored" in Archive.open(damaged).check()[0]


def test_a_lost_array_is_named(damaged: Path) -> None:
    (damaged / "images" / "00000001" / "zarr.json").unlink()
    with pytest.raises(DataError, match="images/00000001"):
        Archive.open(damaged).read(1)


def _edit(path: Path, **changes: Any) -> None:
    fields = json.loads(path.read_text())
    fields["attributes"]["organoseg"].update(changes)
    path.write_text(json.dumps(fields))


def test_what_is_not_an_archive_is_refused_with_a_remedy(damaged: Path, tmp_path: Path) -> None:
    root = damaged / "zarr.json"
    for path in (tmp_path / "gone.zarr", tmp_path):
        with pytest.raises(DataError, match="archive create"):
            Archive.open(path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "index.json").write_text("{}")
    with pytest.raises(DataError, match=r"earlier version .*archive create"):
        Archive.open(tmp_path / "old")
    _edit(root, format="organoseg archive 99")
    with pytest.raises(DataError, match="Not an archive of this version"):
        Archive.open(damaged)
    root.write_text("{")
    with pytest.raises(DataError, match="JSON"):
        Archive.open(damaged)


def test_damaged_metadata_of_an_image_are_named(damaged: Path) -> None:
    _edit(damaged / "images" / "00000001" / "zarr.json", pixel_hashes={})
    with pytest.raises(DataError, match=r"image images/00000001 .*pixel_hashes"):
        Archive.open(damaged)
    shutil.rmtree(damaged / "images")
    with pytest.raises(DataError, match="has no images"):
        Archive.open(damaged)


def test_a_plain_folder_serves_as_an_archive(folder: Path, tmp_path: Path) -> None:
    plain = FolderArchive.open(folder)
    archive = create_archive([folder], tmp_path / "a.zarr")
    assert len(plain) == len(archive) == 3
    for index, (one, other) in enumerate(zip(plain.entries, archive.entries, strict=True)):
        assert (one.name, one.group, one.pixel_hash) == (other.name, other.group, other.pixel_hash)
        assert np.array_equal(plain.read(index).pixels, archive.read(index).pixels)
        assert np.array_equal(plain.crop(index, 3, 4, 60, 20), archive.crop(index, 3, 4, 60, 20))
    rest = plain.exclude({plain.entries[0].pixel_hash})
    assert [entry.name for entry in rest.entries] == ["A01/two.tif", "A02/one.png"]


def test_a_folder_with_a_bad_file_warns_and_without_a_good_one_fails(folder: Path) -> None:
    spoil(folder / "A01" / "two.tif")
    with pytest.warns(UserWarning, match="1 files cannot be read"):
        assert len(FolderArchive.open(folder)) == 2
    with pytest.raises(DataError):
        FolderArchive.open(folder / "nowhere")
    for file in folder.rglob("*.*"):
        spoil(file)
    with pytest.warns(UserWarning, match="4 files"), pytest.raises(DataError, match="can be read"):
        FolderArchive.open(folder)


def test_real_16_bit_wells_come_back(shared: Path, tmp_path: Path) -> None:
    archive = create_archive([shared / "data" / "crc_wells_16bit"], tmp_path / "a.zarr")
    assert len(archive) == 10
    assert {(entry.shape, entry.dtype) for entry in archive.entries} == {((682, 682), "uint16")}
    assert len({entry.group for entry in archive.entries}) == 10
    assert archive.check() == []
