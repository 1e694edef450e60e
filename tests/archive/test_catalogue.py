"""The catalogue: what is kept, what is read again, duplicates and matches."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from organoseg.archive.byte_store import LocalBytes
from organoseg.archive.catalogue import Catalogue, probe_of
from organoseg.archive.index import index_archive, index_stores
from organoseg.cli.main import main
from organoseg.core import DataError, Image, Intensity
from organoseg.core.intensity import smallest_level
from tests.archive.foreign_stores import noise, our_archive, plate


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that were read from local stores."""
    keys: list[str] = []
    for name in ("get", "get_range"):
        was = getattr(LocalBytes, name)

        def spy(self: Any, key: str, *more: Any, was: Any = was) -> Any:
            keys.append(key)
            return was(self, key, *more)

        monkeypatch.setattr(LocalBytes, name, spy)
    return keys


def test_planes_carry_the_intensity_that_labelled_images_get(tmp_path: Path) -> None:
    pixels = noise((2, 1100, 700), "uint8")
    catalogue = index_archive(our_archive(tmp_path / "a.zarr", [Image(pixels, "ZYX")], 512))
    (image,) = catalogue.images
    for plane in catalogue.planes(image.id):
        # The level on disk is rounded to whole numbers.
        wanted = Intensity.of(pixels[plane.z])
        found = (plane.low, plane.middle, plane.high)
        np.testing.assert_allclose(found, (wanted.low, wanted.middle, wanted.high), atol=0.51)
        assert plane.probe == probe_of(pixels[plane.z])
        assert np.array_equal(catalogue.read_plane(image, 0, 0, plane.z), pixels[plane.z])
    assert max(smallest_level(pixels[0]).shape) <= 512


def test_cells_cover_each_plane_once(tmp_path: Path) -> None:
    pixels = noise((2, 100, 70), "uint8")
    catalogue = index_archive(our_archive(tmp_path / "a.zarr", [Image(pixels, "TYX")]))
    cells = catalogue.cells()
    (image,) = catalogue.images
    seen = np.zeros(pixels.shape, int)
    for t, y, x, h, w in zip(cells.t, cells.y, cells.x, cells.height, cells.width, strict=True):
        seen[t, y : y + h, x : x + w] += 1
    assert (seen == 1).all()
    assert {int(i) for i in cells.plane} == {p.id for p in catalogue.planes(image.id)}
    np.testing.assert_allclose(cells.mean, 120, atol=3)


def test_empty_and_blurred_cells_are_told_from_full_and_sharp_ones(tmp_path: Path) -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    sharp = rng.normal(150, 1.0, (256, 256))
    yy, xx = np.mgrid[:256, :128]
    sharp[:, :128] -= 80 * (np.sin(yy / 5) * np.sin(xx / 5) > 0.3)
    blurred = gaussian_filter(sharp, 6)
    stack = np.stack([blurred, sharp]).clip(0, 255).astype(np.uint8)
    catalogue = index_archive(our_archive(tmp_path / "a.zarr", [Image(stack, "ZYX")], 128))
    first, second = catalogue.planes(1)
    assert second.focus > 2 * first.focus
    cells = catalogue.cells()
    left = (cells.z == 1) & (cells.x == 0)
    right = (cells.z == 1) & (cells.x == 128)
    assert cells.foreground[left].min() > 0.3
    # The border of the pattern reaches a few px into the empty half.
    assert cells.foreground[right].max() < 0.05


def test_duplicates_are_marked_across_stores_and_matched(tmp_path: Path) -> None:
    shared, other = noise((300, 200), "uint8", 1), noise((300, 200), "uint8", 2)
    twin = other.copy()
    # The same middle, so the same probe, and yet another picture.
    twin[0, 0] ^= 1
    ours = our_archive(tmp_path / "a.zarr", [Image(shared), Image(other)])
    zarr.create_array(tmp_path / "b.zarr", data=np.stack([shared, twin]), zarr_format=2)
    catalogue = index_stores([str(ours), str(tmp_path / "b.zarr")], tmp_path / "lab.sqlite")
    table = catalogue.plane_table()
    assert table.duplicate_of.tolist() == [-1, -1, int(table.id[0]), -1]
    assert catalogue.matches([Image(shared)]) == {(1, 0, 0, 0), (3, 0, 0, 0)}
    assert catalogue.matches([Image(twin)]) == {(3, 0, 0, 1)}
    assert catalogue.matches([Image(noise((300, 200), "uint8", 3))]) == set()


def test_only_what_is_new_is_read(tmp_path: Path, read: list[str]) -> None:
    first = our_archive(tmp_path / "a.zarr", [Image(noise((40, 40), "uint8", n)) for n in range(3)])
    out = tmp_path / "lab.sqlite"
    before = index_stores([str(first)], out).images
    read.clear()
    index_stores([str(first)], out)
    assert read == []
    plate(tmp_path / "p.zarr", 3)
    after = index_stores([str(first), str(tmp_path / "p.zarr")], out)
    assert read
    assert not any(key.startswith("images/") for key in read)
    assert after.images[:3] == before
    read.clear()
    from organoseg.archive.picture import picture_of
    from organoseg.archive.write_image import write_image

    write_image(first, "images/00000003", picture_of(Image(noise((40, 40), "uint8", 9))))
    grown = index_stores([str(first)], out)
    chunks = [key for key in read if not key.endswith("zarr.json")]
    assert chunks
    assert all(key.startswith("images/00000003/") for key in chunks)
    assert len(grown.images) == 8


def test_images_that_are_gone_leave_the_catalogue(tmp_path: Path) -> None:
    import shutil

    archive = our_archive(
        tmp_path / "a.zarr", [Image(noise((40, 40), "uint8", n)) for n in range(2)]
    )
    index_archive(archive)
    shutil.rmtree(archive / "images" / "00000000")
    catalogue = index_archive(archive)
    assert [image.path for image in catalogue.images] == ["images/00000001/0"]
    assert set(catalogue.cells().image.tolist()) == {catalogue.images[0].id}


def test_a_damaged_plane_costs_that_plane(tmp_path: Path) -> None:
    archive = our_archive(tmp_path / "a.zarr", [Image(noise((3, 40, 40), "uint8"), "TYX")], 64)
    chunk = archive / "images" / "00000000" / "0" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    catalogue = index_archive(archive)
    assert set(catalogue.cells().t.tolist()) == {0, 2}
    ((_, path, reason),) = catalogue.problems
    assert path == "images/00000000/0"
    assert "t=1" in reason
    with pytest.raises(DataError, match="images/00000000/0"):
        catalogue.read_plane(catalogue.images[0], 1, 0, 0)


@pytest.mark.parametrize("content", [None, b"", b"not a base" * 99])
def test_no_damaged_catalogue_is_opened(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "c.sqlite"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match="organoseg archive index"):
        Catalogue.open(file)


def test_another_version_is_refused(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "c.sqlite")
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(DataError, match="version 99"):
        Catalogue.open(tmp_path / "c.sqlite")


def bad_path(folder: Path, kind: str) -> str:
    path = folder / "bad.zarr"
    if kind == "file":
        path.write_text("x")
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "empty store":
        zarr.create_group(path)
    elif kind == "1-D":
        zarr.create_array(path, data=np.zeros(9))
    elif kind == "no server":
        return "http://127.0.0.1:9/bad.zarr"
    return str(path)


@pytest.mark.parametrize(
    "kind", ["absent", "file", "empty folder", "empty store", "1-D", "no server"]
)
def test_what_cannot_be_indexed_is_named_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    out = tmp_path / "out" / "lab.sqlite"
    given = bad_path(tmp_path, kind)
    assert main(["archive", "index", given, "--out", str(out)]) in (1, 3)
    told = capsys.readouterr().err
    assert given in told
    assert kind != "no server" or "does not answer" in told
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_a_failed_run_keeps_the_old_catalogue(tmp_path: Path) -> None:
    ours = our_archive(tmp_path / "a.zarr", [Image(noise((40, 40), "uint8"))])
    out = tmp_path / "lab.sqlite"
    index_stores([str(ours)], out)
    was = out.read_bytes()
    with pytest.raises(DataError):
        index_stores([str(ours), bad_path(tmp_path, "empty store")], out)
    assert out.read_bytes() == was


def test_a_catalogue_that_was_replaced_is_not_mixed_with_the_new_one(tmp_path: Path) -> None:
    ours = our_archive(tmp_path / "a.zarr", [Image(noise((40, 40), "uint8"))])
    old = index_stores([str(ours)], tmp_path / "lab.sqlite")
    plate(tmp_path / "p.zarr", 3)
    index_stores([str(tmp_path / "p.zarr")], tmp_path / "lab.sqlite")
    with pytest.raises(DataError, match="Open it again"):
        old.cells()
