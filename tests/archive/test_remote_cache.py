"""Stores far away: read through a cache that keeps its size, and says when nobody answers."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest

from organoseg.archive.byte_store import RemoteBytes
from organoseg.archive.remote_cache import CachedBytes, CacheSettings, RemoteCache
from organoseg.archive.sampler import Sampler
from organoseg.core import RunError, UsageError
from tests.archive.small_archives import array_ref, manifest_of, write_array

MIB = 1 << 20


def test_oldest_goes_first_and_the_size_is_kept(tmp_path: Path) -> None:
    cache = RemoteCache(CacheSettings(tmp_path, MIB))
    for number in range(40):
        cache.put(f"part {number}", bytes([number]) * 100_000)
        assert cache.size <= MIB
    assert cache.get("part 0") is None
    assert cache.get("part 39") == bytes([39]) * 100_000
    assert [cache.get(f"part {n}") is not None for n in range(29, 40)] == [False] + [True] * 10
    cache.put("part 39", b"new")
    assert cache.get("part 39") == b"new"
    cache.put("too large", bytes(2 * MIB))
    assert cache.get("too large") is None
    cache.close()
    assert (tmp_path / "organoseg-cache.sqlite").stat().st_size < 1.2 * MIB


def test_several_users_at_once_and_a_damaged_row(tmp_path: Path) -> None:
    settings = CacheSettings(tmp_path, MIB)

    def use(user: int) -> bool:
        cache = RemoteCache(settings)
        right = True
        for number in range(60):
            name = f"{(number * 7 + user) % 20}"
            found = cache.get(name)
            right &= found in (None, name.encode() * 40_000)
            cache.put(name, name.encode() * 40_000)
        cache.close()
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(4)))
    cache = RemoteCache(settings)
    assert cache.size <= MIB
    cache.put("x", b"whole")
    with sqlite3.connect(cache.file) as base:
        base.execute("UPDATE bytes SET data = x'00' WHERE id = (SELECT max(id) FROM parts)")
    assert cache.get("x") is None
    cache.close()
    cache.file.write_bytes(b"no database" * 1000)
    assert RemoteCache(settings).get("x") is None


def test_samples_of_a_remote_store_come_from_the_cache_the_second_time(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    pixels = np.random.default_rng(0).integers(1, 900, (120, 90)).astype("u2")
    write_array(tmp_path / "a.zarr", "0", pixels, chunks=32, shards=96)
    for file in (tmp_path / "a.zarr").rglob("*"):
        if file.is_file():
            memory.pipe_file(
                f"/lab/{file.relative_to(tmp_path / 'a.zarr').as_posix()}", file.read_bytes()
            )
    url = "memory://lab"
    manifest = manifest_of([array_ref(url, "0", (120, 90), shards=96)])
    settings = CacheSettings(tmp_path / "cache", 4 * MIB)
    first = list(islice(Sampler(manifest, crop=40, seed=0, cache=settings).iterate(), 100))
    for s in first:
        np.testing.assert_array_equal(s.pixels, pixels[s.y : s.y + 40, s.x : s.x + 40])
    memory.rm("/lab", recursive=True)
    again = list(islice(Sampler(manifest, crop=40, seed=0, cache=settings).iterate(), 100))
    assert [s.pixels.tobytes() for s in again] == [s.pixels.tobytes() for s in first]


class _Nobody:
    calls = 0

    def cat_file(self, path: str) -> bytes:
        self.calls += 1
        raise TimeoutError("no answer")


def test_store_that_does_not_answer_is_asked_again_and_then_named() -> None:
    remote = RemoteBytes("memory://gone", pauses=(0.0, 0.0))
    nobody = _Nobody()
    remote._opened = nobody, "/gone"
    with pytest.raises(RunError, match=r"does not answer.*no answer.*memory://gone"):
        CachedBytes(remote, array_ref("memory://gone", "0", (4, 4)), None)._remote.get("k")  # type: ignore[arg-type]
    assert nobody.calls == 3


def test_cache_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds nothing"):
        CacheSettings(tmp_path, 1000)
