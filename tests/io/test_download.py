"""Downloads over a bad line: resumed, checked, and refused by name when they are not what was published."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from organoseg.core import DataError
from organoseg.io import download, transfer
from organoseg.io.download import Words, fetch
from organoseg.io.transfer import Progress

CONTENT = bytes(range(256)) * 4096  # 1 MiB
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, breaks off after ``cut`` bytes, and writes down the ranges it was asked for."""

    cut: int | None = None
    ranges = True
    chunked = False
    whole_chunks = False
    #: By how much a part begins elsewhere than it was asked for.
    shift = 0
    tag: str | None = None
    #: Whether it minds If-Range.
    minds = True
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
        if (
            self.server.minds
            and "If-Range" in self.headers
            and self.headers["If-Range"] != self.server.tag
        ):
            wanted = None
        start = int(wanted[6:-1]) if wanted and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            begin, end = start + self.server.shift, len(self.server.content)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
        if self.server.tag is not None:
            self.send_header("ETag", self.server.tag)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.chunked:
            sent = (
                body if self.server.whole_chunks else body[: len(body) // 2]
            )  # less than promised
            self.wfile.write(b"%x\r\n" % len(body) + sent + b"\r\n0\r\n\r\n")
        else:
            self.wfile.write(body[: self.server.cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Tests stay quiet."""


def left_in(folder: Path) -> list[str]:
    """What a download leaves, but for the file that stands for its lock."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def begun(server: Server, target: Path, content: bytes, version: str = "") -> Path:
    """What a download that was broken off leaves."""
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(content)
    note = {"url": server.url, "version": version}
    part.with_name(part.name + ".json").write_text(json.dumps(note))
    return part


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
    assert left_in(target.parent) == ["weights.pth", "weights.pth.sha256"]


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
    begun(server, target, CONTENT[:1000])
    server.ranges = False
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_stream_that_breaks_off_is_a_failed_download(server: Server, tmp_path: Path) -> None:
    server.chunked = True
    with pytest.raises(DataError, match="download failed"):
        fetch(server.url, tmp_path / "weights.pth", CHECKSUM)
    assert not (tmp_path / "weights.pth").exists()


def test_another_file_than_the_published_one_is_thrown_away(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    found = rf"\(sha256\): its checksum is sha256:{CHECKSUM[:8]}\.\.\., stated is 00000000"
    with pytest.raises(DataError, match=rf"not the published one {found}") as caught:
        fetch(server.url, target, "00000000")
    assert caught.value.where == server.url
    assert str(target) in str(caught.value.remedy)
    assert left_in(tmp_path) == []


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    begun(server, target, b"x" * (len(CONTENT) + 1))
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 1}-", None]


def test_a_part_from_another_address_is_not_gone_on_with(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "weights.pth"
    note = begun(server, target, b"x" * 1000).with_name(".weights.pth.part.json")
    note.write_text(note.read_text().replace("weights.pth", "older.pth"))
    fetch(server.url, target, CHECKSUM)
    assert server.asked == [None]
    note.write_text("{")  # cut short
    begun(server, target.with_name("other"), b"x" * 1000).with_name(".other.part.json").unlink()
    fetch(server.url, target.with_name("other"), CHECKSUM)
    assert server.asked == [None, None]


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_part_that_begins_elsewhere_is_not_believed(
    server: Server, tmp_path: Path, shift: int
) -> None:
    target = tmp_path / "weights.pth"
    begun(server, target, CONTENT[:1000])
    server.shift = shift
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_part_of_another_version_is_not_believed(server: Server, tmp_path: Path) -> None:
    """Servers that mind no If-Range send the rest of whatever they have now."""
    target = tmp_path / "weights.pth"
    begun(server, target, b"x" * 1000, '"old"')
    server.tag, server.minds = '"new"', False
    fetch(server.url, target, None, first_use=True)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_download_of_which_only_the_name_was_missing_asks_for_nothing(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "weights.pth"
    begun(server, target, CONTENT)
    fetch(server.url, target, CHECKSUM)
    assert target.read_bytes() == CONTENT
    assert server.asked == []
    assert left_in(tmp_path) == ["weights.pth", "weights.pth.sha256"]


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
    words = Words(elsewhere="--folder DIR")
    with pytest.raises(DataError, match=r"cannot be written.*Name another folder: --folder DIR"):
        fetch(server.url, tmp_path / "cache" / "weights.pth", CHECKSUM, words=words)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.05)
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
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("size", [None, 1 << 16])
def test_a_server_that_sends_on_and_on_is_cut_short(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None
) -> None:
    monkeypatch.setattr(transfer, "MOST_BYTES", 1 << 16)
    server.chunked = server.whole_chunks = True
    with pytest.raises(DataError, match="more than the 65536 bytes that may come"):
        fetch(server.url, tmp_path / "weights.pth", CHECKSUM, size=size)
    assert left_in(tmp_path) == []


def test_a_file_for_which_there_is_no_room_is_not_begun(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = transfer.shutil.disk_usage(tmp_path)._replace(free=3)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match=r"the disk has 0\.0 GB left.*ORGANOSEG_CACHE="):
        fetch(server.url, tmp_path / "weights.pth", CHECKSUM)
    assert not (tmp_path / "weights.pth").exists()


def test_a_file_without_a_checksum_that_is_downloaded_again_has_to_be_the_same(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "weights.pth"
    fetch(server.url, target, None, first_use=True)
    target.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(DataError, match=r"first used here.*delete .*weights\.pth\.sha256"):
        fetch(server.url, target, None, first_use=True)
    assert left_in(tmp_path) == ["weights.pth.sha256"]
    (tmp_path / "weights.pth.sha256").unlink()
    assert fetch(server.url, target, None, first_use=True).read_bytes() == CONTENT[::-1]


def test_where_downloads_are_forbidden_nothing_is_asked_and_the_caller_says_what_to_do(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    target = tmp_path / "new" / "weights.pth"
    with pytest.raises(
        DataError, match=r"not on this computer, and ORGANOSEG_OFFLINE forbids"
    ) as e:
        fetch(server.url, target, CHECKSUM)
    assert server.url in str(e.value.remedy)
    with pytest.raises(DataError, match=r"^no such net, and .*\. Ask Ann$"):
        fetch(server.url, target, CHECKSUM, words=Words("no such net", "Ask Ann"))
    assert server.asked == []
    assert not target.parent.exists()
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch(server.url, target, CHECKSUM) == target


def test_of_several_that_ask_at_once_one_downloads(server: Server, tmp_path: Path) -> None:
    target, found = tmp_path / "weights.pth", []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.url, target, CHECKSUM)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [target] * 4
    assert server.asked == [None]


def test_how_far_it_is_can_be_told_and_whoever_is_told_may_stop_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CHUNK", 1 << 18)
    target = tmp_path / "weights.pth"

    def stop(progress: Progress) -> None:
        if progress.have == 1 << 19:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(server.url, target, CHECKSUM, tell=stop)
    assert not target.exists()
    told: list[Progress] = []
    fetch(server.url, target, CHECKSUM, tell=told.append)
    assert server.asked == [None, "bytes=524288-"]
    assert [p.have for p in told] == [3 << 18, 1 << 20]
    assert {(p.name, p.whole) for p in told} == {("weights.pth", 1 << 20)}


def test_a_long_download_says_how_far_it_is(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fetch(server.url, tmp_path / "short.pth", CHECKSUM)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(download, "SAY_EVERY", -1.0)
    fetch(server.url, tmp_path / "long.pth", CHECKSUM)
    assert capsys.readouterr().err == "downloading weights.pth: 1 of 1 MB\n"


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
    assert left_in(tmp_path) == ["weights.pth", "weights.pth.sha256"]


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
