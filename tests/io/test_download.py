"""Downloads over a bad line: resumed, checked, and refused by name when they are not what was published."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from organoseg.core import DataError
from organoseg.io import download
from organoseg.io.download import fetch

CONTENT = bytes(range(256)) * 4096  # 1 MiB
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, breaks off after ``cut`` bytes, and writes down the ranges it was asked for."""

    cut: int | None = None
    ranges = True
    chunked = False
    tag: str | None = None
    elsewhere: str | None = None
    content = CONTENT

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.pth"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/weights.pth":
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.server.elsewhere is not None:
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.end_headers()
            return
        if "If-Range" in self.headers and self.headers["If-Range"] != self.server.tag:
            wanted = None
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if self.server.tag is not None:
            self.send_header("ETag", self.server.tag)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.chunked:  # promises more than it sends
            self.wfile.write(b"%x\r\n" % len(body) + body[: len(body) // 2])
        else:
            self.wfile.write(body[: self.server.cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Tests stay quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "weights.pth"
    assert fetch(server.url, target, CHECKSUM[:8]) == target
    assert target.read_bytes() == CONTENT
    assert fetch(server.url, target, CHECKSUM) == target
    assert server.asked == [None]
    assert sorted(p.name for p in target.parent.iterdir()) == ["weights.pth", "weights.pth.sha256"]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    server.cut = 300_000
    with pytest.raises(DataError, match=r"ended after 300000 of 1048576 bytes.*again to resume"):
        fetch(server.url, target, CHECKSUM)
    assert not target.exists()
    server.cut = None
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


def test_a_server_that_cannot_resume_is_asked_for_the_whole(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    (tmp_path / "weights.pth.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT


def test_a_stream_that_breaks_off_is_a_failed_download(server: Server, tmp_path: Path) -> None:
    server.chunked = True
    with pytest.raises(DataError, match="download failed"):
        fetch(server.url, tmp_path / "weights.pth", CHECKSUM)
    assert not (tmp_path / "weights.pth").exists()


def test_another_file_than_the_published_one_is_thrown_away(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    with pytest.raises(DataError, match=r"not the published one \(sha256\)") as caught:
        fetch(server.url, target, "00000000")
    assert caught.value.where == server.url
    assert str(target) in str(caught.value.remedy)
    assert list(tmp_path.iterdir()) == []


def test_a_left_over_part_of_another_file_does_not_block_for_ever(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "weights.pth"
    (tmp_path / "weights.pth.part").write_bytes(b"x" * (len(CONTENT) + 1))
    with pytest.raises(DataError, match="416"):
        fetch(server.url, target, CHECKSUM)
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT


def test_a_missing_file_is_named(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("weights", "other")
    with pytest.raises(DataError, match=r"404.*other\.pth.*by hand"):
        fetch(url, tmp_path / "weights.pth", CHECKSUM)
    assert not (tmp_path / "weights.pth").exists()


def test_without_a_server_the_remedy_is_a_file(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/weights.pth"
        with pytest.raises(DataError, match=r"download failed.*file's path instead of a name"):
            fetch(url, tmp_path / "weights.pth", CHECKSUM)


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, no folder")
    with pytest.raises(DataError, match="download failed"):
        fetch(server.url, tmp_path / "cache" / "weights.pth", CHECKSUM)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/weights.pth"
        with pytest.raises(DataError, match="timed out"):
            fetch(url, tmp_path / "weights.pth", CHECKSUM)


def test_of_a_file_without_a_checksum_the_first_one_counts(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    with pytest.raises(DataError, match="states no checksum"):
        fetch(server.url, target, None)
    fetch(server.url, target, None, first_use=True)
    assert (tmp_path / "weights.pth.sha256").read_text() == f"{CHECKSUM}  weights.pth\n"
    fetch(server.url, target, None, first_use=True)
    target.write_bytes(CONTENT[::-1])
    with pytest.raises(DataError, match="not the one that was first used here"):
        fetch(server.url, target, None, first_use=True)


def test_a_file_of_another_size_is_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1048576 bytes, stated are 7"):
        fetch(server.url, tmp_path / "weights.pth", None, size=7, first_use=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tagged", [True, False])
def test_parts_of_two_versions_are_never_put_together(
    server: Server, tmp_path: Path, tagged: bool
) -> None:
    """Without a checksum nobody would notice."""
    target = tmp_path / "weights.pth"
    server.cut, server.tag = 300_000, '"one"' if tagged else None
    with pytest.raises(DataError, match="again to resume"):
        fetch(server.url, target, None, first_use=True)
    server.cut, server.tag, server.content = None, '"two"' if tagged else None, CONTENT[::-1]
    fetch(server.url, target, None, first_use=True)
    assert target.read_bytes() == CONTENT[::-1]
    assert server.asked == [None, "bytes=300000-" if tagged else None]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.pth", "weights.pth.sha256"]


def test_a_part_of_the_same_version_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    server.cut, server.tag = 300_000, '"one"'
    with pytest.raises(DataError, match="again to resume"):
        fetch(server.url, target, None, first_use=True)
    server.cut = 1 << 20
    fetch(server.url, target, None, first_use=True)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/weights.pth", "file:///etc/passwd"])
def test_a_server_that_leads_to_another_kind_of_address_is_not_followed(
    server: Server, tmp_path: Path, address: str
) -> None:
    server.elsewhere = address
    with pytest.raises(DataError, match="download failed"):
        fetch(server.url, tmp_path / "weights.pth", CHECKSUM)
    assert not (tmp_path / "weights.pth").exists()
