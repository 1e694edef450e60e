"""The stream of crops: the same for every reader, the pixels that are stored, and nothing that is lost."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from organoseg.archive.manifest import Lost, Manifest
from organoseg.archive.read_ahead import ReadAhead
from organoseg.archive.sampler import Sample, Sampler
from organoseg.core import DataError, UsageError
from tests.archive.small_archives import LAYOUTS, array_ref, manifest_of, write_array

Pixels = np.ndarray


def stored(tmp_path: Path, layout: str = "shards", count: int = 3) -> tuple[Manifest, list[Pixels]]:
    rng = np.random.default_rng(5)
    settings = dict(LAYOUTS[layout])
    pixels = [rng.integers(1, 4000, (2, 1, 3, 120, 90)).astype("u2") for _ in range(count)]
    for number, one in enumerate(pixels):
        write_array(tmp_path / "a.zarr", f"images/{number}", one, **settings)
    arrays = [
        array_ref(
            tmp_path / "a.zarr",
            f"images/{number}",
            one.shape,
            settings["chunks"],
            shards=settings.get("shards"),
            image=10 + number,
            group=f"plate {number}",
        )
        for number, one in enumerate(pixels)
    ]
    return manifest_of(arrays), pixels


def take(sampler: Sampler, start: int, count: int, workers: int = 0) -> list[Sample]:
    stream = sampler.iterate(start, workers)
    found = list(itertools.islice(stream, count))
    stream.close()  # type: ignore[attr-defined]
    return found


def facts(sample: Sample) -> tuple[object, ...]:
    s = sample
    return s.image, s.t, s.c, s.z, s.y, s.x, s.group, s.intensity, s.pixels.tobytes()


@pytest.mark.filterwarnings("ignore:Numcodecs codecs")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("z", ["best", "any", "max", "min"])
def test_samples_are_the_pixels_that_are_stored(tmp_path: Path, layout: str, z: str) -> None:
    manifest, pixels = stored(tmp_path, layout, 2)
    sampler = Sampler(manifest, crop=40, seed=1, z=z)  # type: ignore[arg-type]
    for sample in take(sampler, 0, 60):
        stack = pixels[sample.image - 10][sample.t, sample.c]
        plane = {"max": stack.max(0), "min": stack.min(0)}.get(z, stack[sample.z])
        expected = plane[sample.y : sample.y + 40, sample.x : sample.x + 40]
        np.testing.assert_array_equal(sample.pixels, expected)
    assert not sampler.quarantined


def test_stream_is_the_same_for_all_workers_and_after_a_resume(tmp_path: Path) -> None:
    manifest, _ = stored(tmp_path)
    sampler = Sampler(manifest, crop=48, seed=4)
    whole = [facts(s) for s in take(sampler, 0, 300)]
    for workers, start in ((1, 0), (2, 37), (0, 129)):
        again = take(Sampler(manifest, crop=48, seed=4, memory=1 << 23), start, 40, workers)
        assert [facts(s) for s in again] == whole[start : start + 40]
    assert [facts(sampler[k]) for k in (0, 299, 128)] == [whole[k] for k in (0, 299, 128)]
    assert [facts(s) for s in take(Sampler(manifest, crop=48, seed=5), 0, 300)] != whole


@pytest.mark.parametrize("layout", ["shards", "chunks", "version 2", "gzip"])
def test_zarrs_gives_the_very_samples(tmp_path: Path, layout: str) -> None:
    pytest.importorskip("zarrs", reason="the accelerator zarrs (extra 'fast') is not installed")
    manifest, _ = stored(tmp_path, layout)
    plain, fast = (
        take(Sampler(manifest, crop=24, seed=5, accelerator=name), 3, 40)  # type: ignore[arg-type]
        for name in ("zarr", "zarrs")
    )
    assert [facts(s) for s in plain] == [facts(s) for s in fast]


def test_zarrs_leaves_zarrs_own_settings_alone(tmp_path: Path) -> None:
    pytest.importorskip("zarrs", reason="the accelerator zarrs (extra 'fast') is not installed")
    import zarr

    before = zarr.config.get("codec_pipeline.path")
    manifest, _ = stored(tmp_path, "shards", count=8)
    # Many arrays opened by several threads at once.
    take(Sampler(manifest, crop=24, seed=5, z="any", accelerator="zarrs"), 0, 200)
    assert zarr.config.get("codec_pipeline.path") == before


@pytest.mark.parametrize("accelerator", ["zarr", "zarrs"])
def test_zarrs_invents_nothing_either(tmp_path: Path, accelerator: str) -> None:
    if accelerator == "zarrs":
        pytest.importorskip("zarrs", reason="the accelerator zarrs (extra 'fast') is not installed")
    manifest, _ = stored(tmp_path, "chunks")
    chunks = sorted(p for p in (tmp_path / "a.zarr/images/0/c").rglob("*") if p.is_file())
    chunks[0].unlink()
    sampler = Sampler(manifest, crop=24, seed=5, z="any", accelerator=accelerator)  # type: ignore[arg-type]
    assert all((s.pixels > 0).all() for s in take(sampler, 0, 600))
    assert len(sampler.quarantined) == 1


def test_small_plane_is_taken_whole_and_never_padded(tmp_path: Path) -> None:
    manifest, _ = stored(tmp_path)
    assert Sampler(manifest, crop=500, seed=0)[3].pixels.shape == (120, 90)
    assert Sampler(manifest, crop=32, seed=0, whole=120)[3].pixels.shape == (120, 90)
    assert Sampler(manifest, crop=32, seed=0, whole=119)[3].pixels.shape == (32, 32)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
        return
    if how == "flipped":
        data[len(data) // 2] ^= 4
    path.write_bytes(data[: len(data) // 2] if how == "cut" else data)


@pytest.mark.parametrize("how", ["deleted", "flipped", "cut"])
def test_lost_chunks_are_counted_and_replaced(tmp_path: Path, how: str) -> None:
    manifest, pixels = stored(tmp_path, "chunks")
    keys = ["c/0/0/1/0/0", "c/1/0/1/2/1"]
    for number in (0, 1):
        for key in keys:
            damage(tmp_path / f"a.zarr/images/{number}" / key, how)
    sampler = Sampler(manifest, crop=40, seed=2, z="any")
    found = take(sampler, 0, 700)
    for s in found:
        expected = pixels[s.image - 10][s.t, s.c, s.z, s.y : s.y + 40, s.x : s.x + 40]
        np.testing.assert_array_equal(s.pixels, expected)
    names = {(lost.path, lost.chunk) for lost in sampler.quarantined}
    assert names == {(f"images/{n}", key) for n in (0, 1) for key in keys}
    assert all(lost.reason for lost in sampler.quarantined)
    again = take(Sampler(manifest, crop=40, seed=2, z="any"), 600, 50)
    assert [facts(s) for s in again] == [facts(s) for s in found[600:650]]


def test_nan_in_a_chunk_is_a_loss(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((96, 96)).astype("f4")
    pixels[5, 7] = np.nan
    write_array(tmp_path / "a.zarr", "0", pixels)
    sampler = Sampler(manifest_of([array_ref(tmp_path / "a.zarr", "0", (96, 96))]), crop=20, seed=0)
    assert all(np.isfinite(s.pixels).all() for s in take(sampler, 0, 200))
    assert {lost.chunk for lost in sampler.quarantined} == {"c/0/0"}


def test_archive_that_is_lost_altogether_ends_the_run_with_its_name(tmp_path: Path) -> None:
    manifest = manifest_of([array_ref(tmp_path / "gone.zarr", "0", (96, 96))])
    with pytest.raises(DataError, match=r"gone\.zarr/0/zarr\.json: missing"):
        Sampler(manifest, crop=20, seed=0)[0]


def test_quarantined_chunks_are_not_even_drawn(tmp_path: Path) -> None:
    manifest, _ = stored(tmp_path, "shards")
    url = str(tmp_path / "a.zarr")
    lost = frozenset({Lost(url, "images/0", "c/0/0/1/0/0 [0, 0, 1, 1, 1]", "flipped")})
    marked = Manifest(manifest.arrays, manifest.planes, manifest.cells, lost)
    sampler = Sampler(marked, crop=16, seed=0, z="any")
    assert sampler.quarantined == lost
    cells = sampler.draws.cells
    planes = sampler.draws.views.plane[cells.plane]
    over = [
        (int(y), int(x))
        for p, y, x in zip(planes, cells.y, cells.x, strict=True)
        if marked.key(int(p)) == (10, 0, 0, 1)
    ]
    assert (32, 32) not in over
    assert len(over) == 11
    for s in take(sampler, 0, 500):
        inside = s.y < 64 and s.y + 16 > 32 and s.x < 64 and s.x + 16 > 32
        assert not ((s.image, s.t, s.c, s.z) == (10, 0, 0, 1) and inside)


def test_memory_that_holds_no_block_is_refused(tmp_path: Path) -> None:
    manifest, _ = stored(tmp_path)
    with pytest.raises(UsageError, match="do not hold one block"):
        Sampler(manifest, crop=48, seed=0, memory=1000)
    for wrong in ({"z": "worst"}, {"accelerator": "cupy"}, {"crop": 0}):
        with pytest.raises(UsageError):
            Sampler(manifest, **{"crop": 48, "seed": 0, **wrong})


def test_no_more_is_read_ahead_than_memory_holds(tmp_path: Path, monkeypatch: object) -> None:
    manifest, _ = stored(tmp_path)
    begun: list[int] = []
    kept = ReadAhead.submit

    def counted(self: ReadAhead, task: object) -> object:
        begun.append(1)
        return kept(self, task)  # type: ignore[arg-type]

    monkeypatch.setattr(ReadAhead, "submit", counted)  # type: ignore[attr-defined]
    size = 128 * 48 * 48 * 4
    for blocks in (1, 2, 3):
        begun.clear()
        take(Sampler(manifest, crop=48, seed=0, memory=blocks * size), 0, 1)
        assert len(begun) == 16 * blocks


def _fail(task: object) -> object:
    raise DataError("the very error", where="here", remedy="Mend it.")


def test_error_in_a_worker_arrives_as_itself() -> None:
    from organoseg.archive.chunk_reader import ChunkReader

    with ReadAhead(ChunkReader, workers=1) as reading:
        coming = reading._pool.submit(_fail, None)
        with pytest.raises(DataError, match=r"the very error \(here\)\. Mend it"):
            ReadAhead.result(coming)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = """
        import multiprocessing, sys, time
        from organoseg.archive.chunk_reader import ChunkReader
        from organoseg.archive.read_ahead import ReadAhead
        if __name__ == "__main__":
            reading = ReadAhead(ChunkReader, 1)
            import os
            print(reading._pool.submit(os.getpid).result(), flush=True)
            time.sleep(600)
    """
    file = tmp_path / "parent.py"
    file.write_text(textwrap.dedent(program), encoding="utf-8")
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, file],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    handle = os.pidfd_open(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    import select

    # The descriptor becomes readable when the process ends.
    assert select.select([handle], [], [], 30)[0]
    os.close(handle)
    parent.stdout.close()
