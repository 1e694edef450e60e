"""Weights by name: from a folder, the cache, or a hub, always the published file or an error that helps."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from organoseg.core import DataError, UsageError
from organoseg.models.published import CATALOGUE, names_for, resolve
from organoseg.models.published.catalogue import PublishedWeights
from organoseg.models.published.store import find

CONTENT = bytes(range(256)) * 64
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
SOURCE = "lab/net@1234/model.safetensors"
NAME = "lab--net--model.safetensors"


class Hub(ThreadingHTTPServer):
    """A hub that states a large file's sha256 and sends the caller elsewhere for its content."""

    stated: str | None = SHA256
    status = 302
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.path == "/lab/net/resolve/1234/model.safetensors":
            self.send_response(self.server.status)
            if self.server.stated:
                self.send_header("X-Linked-Etag", f'"{self.server.stated}"')
            self.send_header("ETag", '"something else"')
            self.send_header("Location", f"{self.server.url}/store/blob")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/store/blob":
            start = int(wanted[6:-1]) if wanted else 0
            body = CONTENT[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
                )
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: self.server.cut])
            self.close_connection = True
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Tests stay quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))
        monkeypatch.delenv("ORGANOSEG_OFFLINE", raising=False)
        monkeypatch.delenv("ORGANOSEG_WEIGHTS", raising=False)
        publish(monkeypatch, None)
        yield running
        running.shutdown()
        thread.join()


def publish(monkeypatch: pytest.MonkeyPatch, checksum: str | None) -> PublishedWeights:
    weights = PublishedWeights("resnet50", "backbone", SOURCE, "BSD-3-Clause", checksum)
    monkeypatch.setitem(CATALOGUE, "mine", weights)
    return weights


def test_the_hubs_own_checksum_is_asserted_and_kept(hub: Hub, tmp_path: Path) -> None:
    path = resolve("mine")
    assert path == tmp_path / "cache" / "weights" / NAME
    assert path.read_bytes() == CONTENT
    record = path.with_name(NAME + ".sha256")
    assert record.read_text() == f"{SHA256}  {NAME}\n"  # what `sha256sum --check` reads
    asked = len(hub.asked)
    assert resolve("mine") == path
    assert len(hub.asked) == asked, "nothing is asked of the network a second time"


def test_a_download_from_the_hub_goes_on_where_it_stopped(hub: Hub) -> None:
    hub.cut = 5000
    with pytest.raises(DataError, match=r"ended after 5000 of 16384 bytes.*again to resume"):
        resolve("mine")
    hub.cut = None
    assert resolve("mine").read_bytes() == CONTENT
    assert hub.asked[-1] == ("/store/blob", "bytes=5000-")


def test_a_file_that_is_not_what_the_hub_states_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.stated = "0" * 64
    with pytest.raises(DataError, match=r"not the published one \(sha256\)"):
        resolve("mine")
    assert not list((tmp_path / "cache" / "weights").glob("lab*"))


def test_a_server_that_states_nothing_is_not_believed(hub: Hub, tmp_path: Path) -> None:
    hub.stated = None
    with pytest.raises(DataError, match=r"states no checksum.*by hand"):
        resolve("mine")
    assert not list((tmp_path / "cache" / "weights").glob("lab*"))


def test_both_the_catalogue_and_the_hub_have_to_agree(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, f"sha256:{SHA256}")
    hub.stated = "0" * 64
    with pytest.raises(DataError, match="not the published one"):
        resolve("mine")
    hub.stated = None  # a mirror may leave it out: the catalogue knows
    assert resolve("mine").read_bytes() == CONTENT


def test_an_md5_of_the_file_name_is_enough(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.stated = None
    publish(monkeypatch, f"md5:{MD5[:6]}")
    assert resolve("mine").read_bytes() == CONTENT
    publish(monkeypatch, "md5:ffffff")
    with pytest.raises(DataError, match=r"not the published one.*stated is md5:ffffff"):
        resolve("mine")


def test_a_file_that_changed_in_the_cache_is_not_used(hub: Hub) -> None:
    path = resolve("mine")
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DataError, match=r"not the one that was first used here.*Delete") as caught:
        resolve("mine")
    assert caught.value.where == str(path)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_named_with_where_to_put_the_file(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    hub.status = status
    with pytest.raises(DataError, match=rf"{status}.*by hand to .*{NAME}"):
        resolve("mine")


def test_offline_says_which_file_to_put_where(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    with pytest.raises(DataError, match=r"'mine' are not on this computer") as caught:
        resolve("mine")
    said = str(caught.value)
    assert f"{hub.url}/lab/net/resolve/1234/model.safetensors" in said
    assert str(tmp_path / "cache" / "weights") in said
    assert NAME in said
    assert "ORGANOSEG_WEIGHTS" in said
    assert hub.asked == []
    target = tmp_path / "cache" / "weights" / NAME
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert resolve("mine") == target
    assert target.with_name(NAME + ".sha256").is_file(), (
        "what was used once is asserted from then on"
    )


@pytest.mark.parametrize("place", [NAME, "lab/net/model.safetensors", "net/model.safetensors"])
def test_a_folder_of_ones_own_is_looked_through_first(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    own = tmp_path / "own" / place
    own.parent.mkdir(parents=True)
    own.write_bytes(CONTENT)
    monkeypatch.setenv("ORGANOSEG_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    publish(monkeypatch, f"sha256:{SHA256}")
    assert resolve("mine") == own
    publish(monkeypatch, "sha256:" + "0" * 64)
    with pytest.raises(DataError, match="not the published one"):
        resolve("mine")


def test_a_licence_that_has_to_be_accepted_is_not_asked_around(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = publish(monkeypatch, None)
    monkeypatch.setitem(CATALOGUE, "mine", replace(weights, gated=True))
    with pytest.raises(DataError, match=r"accept their licence.*huggingface\.co/lab/net.*Accept"):
        resolve("mine")
    assert hub.asked == []


def test_several_processes_download_once(hub: Hub) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(resolve("mine"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert [path for path, _ in hub.asked].count("/store/blob") == 1


def test_files_and_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "some.npz"
    file.write_bytes(b"x")
    assert resolve(file) == resolve(str(tmp_path)) == file
    (tmp_path / "other.pth").write_bytes(b"x")
    with pytest.raises(
        UsageError, match=r"which weights of this folder\? \(other\.pth, some\.npz\)"
    ):
        resolve(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert resolve(tmp_path).name == "model.safetensors"
    with pytest.raises(UsageError, match=r"'resnet50_imagnet'.*resnet50_imagenet"):
        resolve("resnet50_imagnet")


def test_a_run_named_after_weights_is_not_taken_for_them(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"other")
    monkeypatch.chdir(tmp_path)
    assert resolve("mine").read_bytes() == CONTENT
    assert resolve("./mine").read_bytes() == b"other"


def test_a_clone_without_its_large_files_is_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "net" / "model.safetensors"
    own.parent.mkdir(parents=True)
    own.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 16384\n")
    monkeypatch.setenv("ORGANOSEG_WEIGHTS", str(tmp_path / "own"))
    with pytest.raises(DataError, match="git lfs pull"):
        resolve("mine")
    own.write_bytes(CONTENT)
    assert resolve("mine") == own


def test_a_cache_that_cannot_be_written_says_how_to_name_another(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="ORGANOSEG_CACHE"):
        resolve("mine")


def test_the_catalogue_is_whole() -> None:
    files = [weights.file_name for weights in CATALOGUE.values()]
    assert len(set(files)) == len(files), "two would share a place in the cache"
    for name, weights in CATALOGUE.items():
        assert weights.licence, name
        assert weights.url.startswith("https://"), name
        assert re.fullmatch(r".*\.(safetensors|pth|bin|pkl)", weights.file_name), name
        # Outside the hub somebody has to state a checksum.
        assert weights.on_hub or weights.checksum, name
        if weights.checksum:
            assert re.fullmatch(r"(sha256|md5):[0-9a-f]{6,64}", weights.checksum), name
            if not weights.on_hub:  # it is the publisher's own: in the file's name
                assert weights.checksum.rpartition(":")[2] in weights.file_name, name


def test_every_backbone_has_published_weights() -> None:
    pytest.importorskip("transformers", reason="the extra 'mask2former' is not installed")
    from organoseg.models.mask2former.backbones import LIBRARY

    assert {w.backbone for w in CATALOGUE.values()} == {*LIBRARY, "mobilenet_v2"}
    for backbone in LIBRARY:
        assert names_for(backbone), backbone
    assert names_for("swin_t", "whole") == ("mask2former_swin_t_coco",)


def test_what_is_on_this_computer_is_found(hub: Hub) -> None:
    assert find(CATALOGUE["mine"]) is None
    path = resolve("mine")
    assert find(CATALOGUE["mine"]) == path


def test_the_page_has_every_name_with_its_licence() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "mask2former.md"
    named: dict[str, str] = {}
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            named |= dict.fromkeys(re.findall(r"`(\w+)`", cells[0]), cells[2])
    assert named == {name: weights.licence for name, weights in CATALOGUE.items()}
