"""Which images are found in stores of every kind, and what bad metadata cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from organoseg.archive.listing import list_store
from organoseg.archive.walk import Found, walk
from organoseg.core import DataError, Image, RunError
from tests.archive.foreign_stores import noise, ome_image, our_archive, plate


def found(path: Path | str) -> Found:
    return walk(list_store(str(path)))


@pytest.mark.parametrize("version", [2, 3])
def test_plate_fields_are_grouped_by_well(tmp_path: Path, version: int) -> None:
    plate(tmp_path / "p.zarr", version)
    images = found(tmp_path / "p.zarr").images
    assert [image.path for image in images] == ["A/1/0/0", "A/1/1/0", "B/2/0/0", "B/2/1/0"]
    assert [image.group for image in images] == ["p.zarr/A1"] * 2 + ["p.zarr/B2"] * 2
    first = images[0]
    assert (first.axes, first.shape, first.chunks) == (
        "tczyx",
        (1, 2, 1, 70, 50),
        (1, 1, 1, 32, 32),
    )
    assert first.pixel_size == (0.5, 0.25)
    assert first.levels == (("A/1/0/0", (1, 2, 1, 70, 50)), ("A/1/0/1", (1, 2, 1, 35, 25)))
    assert first.fields == {"plate": "p.zarr", "well": "A1", "site": "0"}


def test_series_and_nested_stores_and_bare_arrays(tmp_path: Path) -> None:
    series = zarr.create_group(tmp_path / "lab" / "run1.zarr", zarr_format=2)
    series.attrs["bioformats2raw.layout"] = 3
    ome_image(series, "0", noise((40, 40)), "yx")
    ome_image(series, "1", noise((40, 40)), "yx")
    zarr.create_array(
        tmp_path / "lab" / "deep" / "bare.zarr", data=noise((3, 40, 40)), zarr_format=3
    )
    images = found(tmp_path / "lab").images
    assert {(image.path, image.group, image.axes) for image in images} == {
        ("run1.zarr/0/0", "lab/run1.zarr", "yx"),
        ("run1.zarr/1/0", "lab/run1.zarr", "yx"),
        ("deep/bare.zarr", "lab/deep/bare.zarr", "zyx"),
    }


def test_labels_are_no_images(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    ome_image(root, "", noise((40, 40)), "yx")
    ome_image(root, "labels/cells", noise((40, 40)), "yx")
    assert [image.path for image in found(tmp_path / "a.zarr").images] == ["0"]


def test_ours_keeps_name_group_and_hashes(tmp_path: Path) -> None:
    our_archive(
        tmp_path / "a.zarr", [Image(noise((50, 40), "uint8"), "YX", (2.0, 2.0), "w/a.tif", "w")]
    )
    walked = found(tmp_path / "a.zarr")
    (image,) = walked.images
    assert walked.kind == "organoseg"
    assert (image.name, image.group, image.checksummed) == ("w/a.tif", "w", True)
    assert (image.chunks, image.shards) == ((32, 32), (64, 64))
    assert list(walked.hashes[image.path]) == ["0,0,0"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"node_type": "array"}',
        b'{"node_type": "group", "attributes": {"ome": {"multiscales": 7}}}',
        b'{"node_type": "group", "attributes": {"ome": {"multiscales": [{"datasets": [{"path": "9"}]}]}}}',
        b'{"node_type": "group", "attributes": {"ome": {"multiscales": '
        b'[{"datasets": [{"path": "0"}], "axes": ["q", "x"]}]}}}',
    ],
)
def test_bad_metadata_cost_that_image_and_are_listed(tmp_path: Path, damage: bytes) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    ome_image(root, "good", noise((40, 40)), "yx")
    ome_image(root, "bad", noise((40, 40)), "yx")
    (tmp_path / "a.zarr" / "bad" / "zarr.json").write_bytes(damage)
    walked = found(tmp_path / "a.zarr")
    assert "good/0" in [image.path for image in walked.images]
    assert any(path == "bad" for path, _ in walked.problems)


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    root.create_array("line", data=np.zeros(5))
    (tmp_path / "a.zarr" / "things").mkdir()
    about = {
        "shape": [4, 4],
        "chunks": [4, 4],
        "dtype": "|O",
        "zarr_format": 2,
        "compressor": None,
        "filters": None,
    }
    (tmp_path / "a.zarr" / "things" / ".zarray").write_text(json.dumps(about))
    walked = found(tmp_path / "a.zarr")
    assert walked.images == []
    reasons = dict(walked.problems)
    assert "no picture" in reasons["line"]
    assert "no picture" in reasons["things"]


def test_codecs_with_and_without_checksum(tmp_path: Path) -> None:
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    codecs = {"a": ZstdCodec(checksum=True), "b": ZstdCodec(), "c": BloscCodec(), "d": GzipCodec()}
    for name, codec in codecs.items():
        root.create_array(name, data=noise((8, 8)), compressors=[codec])
    checked = {image.path: image.checksummed for image in found(tmp_path / "a.zarr").images}
    assert checked == {"a": True, "b": False, "c": False, "d": True}


def test_no_folder_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("absent", "file"):
        with pytest.raises(DataError, match=name):
            list_store(str(tmp_path / name))


def test_a_server_that_never_answers_is_given_up() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.zarr"
        with pytest.raises(RunError, match=r"127\.0\.0\.1.*Check the URL"):
            list_store(url, patience=0.2)


def test_a_remote_store_is_walked_like_a_local_one(tmp_path: Path) -> None:
    import fsspec

    plate(tmp_path / "p.zarr", 3)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "p.zarr"), "/walk/p.zarr", recursive=True)
    assert [i.path for i in found("memory://walk/p.zarr").images] == [
        i.path for i in found(tmp_path / "p.zarr").images
    ]
