"""Weights by detectron2's names: downloaded once, converted once, kept without the pickle. Runs without detectron2."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from organoseg.core import DataError, UsageError
from organoseg.models.detectron2 import zoo
from organoseg.models.detectron2.zoo import Entry, resolve
from tests.io.test_download import Server
from tests.io.test_download import server as server

WEIGHTS = {"backbone.fpn_output2.weight": torch.arange(4.0)}


@pytest.fixture(autouse=True)
def cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server is detectron2's and has one model, of which the MD5 is known; the cache is new."""
    data = io.BytesIO()
    torch.save({"model": WEIGHTS}, data)
    server.content = data.getvalue()
    md5 = hashlib.md5(server.content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(zoo, "SERVER", server.url.removesuffix("weights.pth"))
    monkeypatch.setattr(zoo, "MODELS", {"small": Entry("weights.pth", "mask_rcnn_R_50_FPN")})
    monkeypatch.setattr(Entry, "checksum", f"md5:{md5[:6]}")
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ORGANOSEG_OFFLINE", raising=False)
    monkeypatch.delenv("ORGANOSEG_WEIGHTS", raising=False)
    return tmp_path / "cache" / "weights" / "detectron2"


def small() -> Path:
    return resolve("small", "mask_rcnn_R_50_FPN", "model.options.start")


def test_several_that_ask_at_once_get_one_file_without_a_pickle(
    server: Server, cache: Path
) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(small())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "weights.safetensors"] * 3
    assert server.asked == [None]
    assert torch.equal(load_file(found[0])["backbone.fpn_output2.weight"], torch.arange(4.0))
    assert not (cache / "weights.pth").exists()


def test_what_is_not_the_published_file_is_thrown_away(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Entry, "checksum", "md5:000000")
    with pytest.raises(DataError, match=r"not the published one \(md5\).*stated is md5:000000"):
        small()
    monkeypatch.setattr(Entry, "checksum", None)
    with pytest.raises(DataError, match="states no checksum"):
        small()
    assert not [p for p in cache.iterdir() if p.suffix != ".lock"]


def test_offline_a_file_of_ones_own_is_taken(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    with pytest.raises(
        DataError, match=r"weights\.pth is not on this computer.*by hand to"
    ) as caught:
        small()
    assert caught.value.where == str(cache / "weights.pth")
    monkeypatch.setenv("ORGANOSEG_WEIGHTS", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "weights.pth").write_bytes(server.content)
    assert small() == cache / "weights.safetensors"
    assert (tmp_path / "own" / "weights.pth").exists()
    assert server.asked == []


def test_a_cache_that_cannot_be_written_and_another_architecture_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="not for pointrend_R_50_FPN"):
        resolve("small", "pointrend_R_50_FPN", "model.options.start")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written.*ORGANOSEG_CACHE"):
        small()
