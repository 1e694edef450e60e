"""What `organoseg archive info` shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image as Pillow

from organoseg.archive.advice import advise
from organoseg.archive.contact_sheet import contact_sheets
from organoseg.archive.index import index_archive, index_stores
from organoseg.archive.info import groups_of
from organoseg.cli.main import main
from organoseg.core import Image
from tests.archive.foreign_stores import noise, our_archive


def test_groups_are_counted(tmp_path: Path) -> None:
    images = [
        Image(noise((2, 90, 70), "uint8"), "ZYX", (0.5, 0.5), "a", "well 1"),
        Image(noise((90, 70), "uint16", 1), "YX", None, "b", "well 2"),
        Image(noise((90, 70), "uint16", 1), "YX", None, "c", "well 2"),
    ]
    first, second = groups_of(index_archive(our_archive(tmp_path / "a.zarr", images)))
    assert (first.group, first.images, first.planes, first.axes) == ("well 1", 1, 2, "zyx")
    assert (first.size, first.bits, first.pixel_size) == ("70 x 90", "8", "0.5")
    assert (second.images, second.planes, second.doubles, second.bits) == (2, 2, 1, "16")


def test_a_sheet_a_group_even_of_damaged_images(tmp_path: Path) -> None:
    images = [
        Image(noise((90, 70), "uint8", n), "YX", (1.0, 1.0), f"{n}.tif", f"g/{n % 2}")
        for n in range(5)
    ]
    path = our_archive(tmp_path / "a.zarr", images)
    catalogue = index_archive(path)
    (path / "images" / "00000000" / "0" / "c" / "0" / "0").unlink()
    sheets = dict(contact_sheets(catalogue, tmp_path / "sheets"))
    assert sorted(sheets) == ["g/0", "g/1"]
    with Pillow.open(sheets["g/0"]) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert (pixels == (170, 40, 40)).all(axis=-1).mean() > 0.05
    # The other pictures span black to white.
    assert pixels.min() < 30


def test_advice_where_a_crop_decodes_a_whole_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = np.tile(noise((100, 100), "uint8"), (11, 11))
    zarr.create_array(tmp_path / "frames.zarr", data=frame, chunks=frame.shape)
    zarr.create_array(tmp_path / "tiles.zarr", data=frame, chunks=(512, 512))
    urls = [str(tmp_path / name) for name in ("frames.zarr", "tiles.zarr")]
    catalogue = index_stores(urls, tmp_path / "lab.sqlite")
    # A price that no other work on this machine changes: the pixels of a chunk.
    monkeypatch.setattr(
        "organoseg.archive.advice._rate", lambda array: 1e6 / float(np.prod(array.chunks))
    )
    (advice,) = advise(catalogue)
    assert advice.url == urls[0]
    assert advice.then > 4 * advice.now
    assert advice.command.startswith(f"organoseg archive create {urls[0]} --out ")


def test_a_crop_is_timed(tmp_path: Path) -> None:
    from organoseg.archive.advice import _rate
    from tests.archive.small_archives import array_ref

    zarr.create_array(tmp_path / "a.zarr", data=noise((90, 70), "uint8"), chunks=(32, 32))
    ref = array_ref(tmp_path / "a.zarr", "", (90, 70))
    assert (_rate(ref) or 0) > 0
    (tmp_path / "a.zarr" / "c" / "1" / "1").unlink()
    assert _rate(ref) is None


def test_command_shows_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = our_archive(
        tmp_path / "a.zarr", [Image(noise((90, 70), "uint8"), "YX", None, "a", "plate 7")]
    )
    assert main(["archive", "index", str(path)]) == 0
    assert main(["archive", "info", str(path), "--sheets", str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert "plate 7" in out
    assert [file.name for file in (tmp_path / "s").iterdir()] == ["plate_7.png"]


def test_without_an_index_the_remedy_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = our_archive(tmp_path / "a.zarr", [Image(noise((20, 20), "uint8"))])
    assert main(["archive", "info", str(path)]) == 3
    assert "organoseg archive index" in capsys.readouterr().err
