"""Damage of every kind is found, named, and put into quarantine."""

from __future__ import annotations

import random
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from organoseg.archive.catalogue import Catalogue
from organoseg.archive.check import check_store
from organoseg.archive.index import index_archive, index_stores
from organoseg.archive.manifest_of import read_quarantine
from organoseg.cli.main import main
from organoseg.core import Image
from tests.archive.foreign_stores import noise, ome_image, our_archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in shards, whole chunks, all zeros, a stack; with its catalogue. Tests put back what they break."""
    images = [
        Image(noise((90, 70), "uint8")),
        Image(noise((2, 60, 53), "uint16"), "ZYX"),
        Image(np.zeros((70, 70), np.uint8)),
        Image(noise((20, 20), "uint8").astype(np.float32)),
    ]
    path = our_archive(tmp_path_factory.mktemp("check") / "a.zarr", images)
    index_archive(path)
    return path


def chunks_of(archive: Path) -> list[Path]:
    names = {"zarr.json", "catalogue.sqlite", "quarantine.csv"}
    return sorted(f for f in archive.rglob("*") if f.is_file() and f.name not in names)


def kinds(archive: Path, *, known: bool = False) -> set[str]:
    catalogue = Catalogue.open(archive) if known else None
    return set(check_store(str(archive), catalogue).counts())


def test_a_whole_archive_is_clean(archive: Path) -> None:
    report = check_store(str(archive), Catalogue.open(archive))
    assert report.findings == []
    assert report.blind == {}
    assert (report.images, report.planes, report.hashed) == (4, 5, 5)


def test_flipped_cut_and_deleted_files_are_found(archive: Path) -> None:
    luck, files = random.Random(0), chunks_of(archive)
    for number in range(60):
        file = luck.choice(files)
        whole = file.read_bytes()
        broken = bytearray(whole)
        bit = luck.randrange(8 * len(whole))
        broken[bit // 8] ^= 1 << bit % 8
        if number % 3 == 1:
            broken = broken[: luck.randrange(len(whole))]
        if number % 3 == 2:
            file.unlink()
        else:
            file.write_bytes(broken)
        found = kinds(archive)
        file.write_bytes(whole)
        assert found & ({"missing"} if number % 3 == 2 else {"damaged"}), (number, file)


def test_a_chunk_that_its_shard_calls_empty_is_missing(archive: Path) -> None:
    file = archive / "images" / "00000000" / "0" / "c" / "0" / "0"
    whole = file.read_bytes()
    index = bytearray(whole[-16 * 9 - 4 : -4])
    index[:16] = b"\xff" * 16
    checksum = google_crc32c.value(bytes(index)).to_bytes(4, "little")
    file.write_bytes(whole[: -16 * 9 - 4] + index + checksum)
    report = check_store(str(archive))
    file.write_bytes(whole)
    (finding,) = report.findings
    assert (finding.kind, finding.chunk) == ("missing", "c/0/0 [0, 0]")


def test_changed_metadata_are_found_with_a_catalogue(archive: Path) -> None:
    file = archive / "images" / "00000001" / "zarr.json"
    whole = file.read_text()
    file.write_text(whole.replace('"micrometer"', '"nanometer "').replace('"mean"', '"maen"'))
    found = kinds(archive, known=True)
    file.unlink()
    gone = kinds(archive), kinds(archive, known=True)
    file.write_text(whole)
    assert found == {"metadata"}
    assert gone == ({"metadata"}, {"metadata"})


def test_swapped_chunks_and_wrong_levels_are_found(tmp_path: Path) -> None:
    path = our_archive(tmp_path / "a.zarr", [Image(noise((2, 600, 20), "uint8"), "TYX")], 1024)
    first, second = (path / "images" / "00000000" / "0" / "c" / t / "0" / "0" for t in "01")
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert kinds(path) == {"pixels", "levels"}


def test_absent_chunks_of_foreign_stores(tmp_path: Path) -> None:
    pixels = noise((64, 64), "uint8")
    pixels[:32, :32] = 0
    sparse = zarr.create_array(
        tmp_path / "sparse.zarr", shape=(64, 64), chunks=(32, 32), dtype="u1"
    )
    sparse[:] = pixels
    report = check_store(str(tmp_path / "sparse.zarr"))
    assert report.counts() == {"absent": 1}
    assert not report.damaged
    full = zarr.create_array(
        tmp_path / "full.zarr", shape=(64, 64), chunks=(32, 32), dtype="u1", config={"write_empty_chunks": True}
    )  # fmt: skip
    full[:] = pixels
    (tmp_path / "full.zarr" / "c" / "1" / "1").unlink()
    # A chunk of zeros was written: so the one that is not there was lost.
    assert check_store(str(tmp_path / "full.zarr")).counts() == {"missing": 1}


@pytest.mark.parametrize("version", [2, 3])
def test_foreign_levels(tmp_path: Path, version: int) -> None:
    ramp = np.add.outer(np.arange(80), np.arange(80)).astype(np.uint8)
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)  # type: ignore[arg-type]
    ome_image(root, "", ramp, "yx")
    assert check_store(str(tmp_path / "a.zarr")).findings == []
    level = zarr.open_array(tmp_path / "a.zarr", path="1", mode="r+")
    level[:] = np.asarray(level[:])[::-1]
    assert check_store(str(tmp_path / "a.zarr")).counts() == {"levels": 1}


def test_the_report_says_what_a_codec_cannot_reveal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from zarr.codecs import BloscCodec

    zarr.create_array(tmp_path / "b.zarr", data=noise((40, 40)), compressors=[BloscCodec()])
    assert main(["archive", "check", str(tmp_path / "b.zarr")]) == 0
    assert "blosc keeps no checksum" in capsys.readouterr().out


def test_quarantine_is_what_training_reads(tmp_path: Path) -> None:
    path = our_archive(tmp_path / "a.zarr", [Image(noise((90, 70), "uint8"))])
    index_archive(path)
    (path / "images" / "00000000" / "0" / "c" / "0" / "0").unlink()
    assert main(["archive", "check", str(path), "--quarantine"]) == 3
    lost = read_quarantine(path / "quarantine.csv")
    assert {(entry.url, entry.path) for entry in lost} == {(str(path), "images/00000000/0")}
    assert {entry.chunk.partition(" ")[0] for entry in lost} == {"c/0/0"}


def test_quarantine_of_several_stores_keeps_the_others(tmp_path: Path) -> None:
    urls = []
    for name in "ab":
        path = our_archive(tmp_path / f"{name}.zarr", [Image(noise((20, 20), "uint8"))])
        urls.append(str(path))
    index_stores(urls, tmp_path / "lab.sqlite")
    for url in urls:
        (Path(url) / "images" / "00000000" / "0" / "c" / "0" / "0").unlink()
    assert main(["archive", "check", str(tmp_path / "lab.sqlite"), "--quarantine"]) == 3
    assert {entry.url for entry in read_quarantine(tmp_path / "quarantine.csv")} == set(urls)
