"""One bad file costs one file; a kill costs what was under way; nothing is done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as Pillow

from organoseg.core import Image, RunError, UsageError, read_json
from organoseg.inference import pipeline
from organoseg.inference.records import left_of, part_path
from organoseg.inference.run_lock import alone
from organoseg.inference.writers import PICTURE_WRITERS
from organoseg.io import read_instances
from tests.inference import quick
from tests.inference.quick import MODEL, segment


@pytest.fixture(autouse=True)
def quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "model_of", quick.quick_model)
    MODEL.seen.clear()


def spots(seed: int) -> np.ndarray:
    pixels = np.full((40, 40), 20, np.uint8)
    for y, x in np.random.default_rng(seed).integers(4, 30, (3, 2)):
        pixels[y : y + 5, x : x + 5] = 200
    return pixels


def bad_files(folder: Path) -> int:
    """Twenty files that are no images, of every kind."""
    whole = folder / "whole.tif"
    tifffile.imwrite(whole, spots(0))
    data = whole.read_bytes()
    whole.unlink()
    for n in range(2):
        (folder / f"empty_{n}.tif").touch()
        (folder / f"cut_{n}.tif").write_bytes(data[: len(data) // (2 + n)])
        (folder / f"cut_{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
        tifffile.imwrite(folder / f"complex_{n}.tif", np.ones((20, 20), np.complex64))
        nan = np.ones((20, 20), np.float32)
        nan[n, n] = np.nan
        tifffile.imwrite(folder / f"nan_{n}.tif", nan)
        tifffile.imwrite(folder / f"pixel_{n}.tif", np.ones((1, 1), np.uint8))
        (folder / f"text_{n}.png").write_text("not a picture", encoding="utf-8")
        (folder / f"folder_{n}.tif").mkdir()
        (folder / f"gone_{n}.tif").symlink_to(folder / "nowhere")
        (folder / f"random_{n}.jpg").write_bytes(random.Random(n).randbytes(300))
    return 20


def test_twenty_bad_files_of_two_hundred_cost_twenty(tmp_path: Path) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    names = [f"well {n}.png" for n in range(178)] + ["größe.png", "類器官.png"]
    for n, name in enumerate(names):
        Pillow.fromarray(spots(n)).save(folder / name)
    assert bad_files(folder) == 20
    failures = segment([folder], out)
    assert len({f.file for f in failures}) == len(failures) == 20
    assert all(f.reason for f in failures)
    assert len(list((out / "parts").rglob("*.json"))) == 180
    assert sorted(MODEL.seen) == sorted(names)
    # The next run touches only the twenty, one of which has been mended.
    MODEL.seen.clear()
    before = {p: p.stat().st_mtime_ns for p in (out / "labels").rglob("*.tif")}
    (folder / "text_0.png").unlink()
    Pillow.fromarray(spots(500)).save(folder / "text_0.png")
    assert len(segment([folder], out)) == 19
    assert MODEL.seen == ["text_0.png"]
    assert {p: p.stat().st_mtime_ns for p in before} == before


def tree(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def test_killed_at_any_moment_and_begun_again_the_results_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(12):
        Pillow.fromarray(spots(n)).save(folder / f"{n}.png")
    stack = np.stack([spots(50 + t) for t in range(20)])
    tifffile.imwrite(folder / "film.tif", stack, imagej=True, metadata={"axes": "TYX"})
    segment([folder], tmp_path / "whole")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.inference.quick", str(folder), str(out)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    for stop in (1, 5, 9):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= stop:
                    process.send_signal(signal.SIGKILL)
                    break
        names = [p.name for p in out.rglob("*") if p.is_file()]
        assert all(name.startswith(".tmp-") or "." in name for name in names)
    assert segment([folder], out) == []
    whole = tree(tmp_path / "whole")
    assert {k: v for k, v in tree(out).items() if ".tmp-" not in k} == whole


def test_a_time_lapse_goes_on_where_it_was(tmp_path: Path) -> None:
    stack = np.stack([spots(t) for t in range(6)])
    tifffile.imwrite(tmp_path / "film.tif", stack, imagej=True, metadata={"axes": "TYX"})
    out = tmp_path / "out"
    assert segment([tmp_path / "film.tif"], out) == []
    part_path(out, "film.tif.t3").unlink()
    MODEL.seen.clear()
    segment([tmp_path / "film.tif"], out)
    assert MODEL.seen == ["film.tif.t3"]


def test_a_source_that_changed_is_done_anew(tmp_path: Path) -> None:
    file, out = tmp_path / "a.png", tmp_path / "out"
    Pillow.fromarray(spots(0)).save(file)
    segment([file], out)
    before = part_path(out, "a.png").read_bytes()
    os.utime(file, (1, 1))
    Pillow.fromarray(spots(1)[:, ::-1]).save(file)
    segment([file], out)
    assert MODEL.seen == ["a.png", "a.png"]
    assert part_path(out, "a.png").read_bytes() != before


def test_a_plane_that_cannot_be_read_costs_the_stack_that_plane(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(tmp_path / f"P_p00_z{z:02d}_0_A01f00d0.TIF", spots(z))
    bad = tmp_path / "P_p00_z01_0_A01f00d0.TIF"
    good = bad.read_bytes()
    bad.write_bytes(good[:50])
    out = tmp_path / "out"
    (failure,) = segment([tmp_path], out)
    assert failure.file == str(bad)
    assert len(list((out / "parts").rglob("*.json"))) == 1
    # Mended, the whole stack is looked at again: another plane may be in focus.
    bad.write_bytes(good)
    assert segment([tmp_path], out) == []
    assert len(MODEL.seen) == 2


def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for n in range(8):
        Pillow.fromarray(spots(n)).save(folder / f"{n}.png")
    writer = PICTURE_WRITERS["labels"]
    inner, written = writer.write, []

    def full(path: Path, result: object) -> None:
        if len(written) >= 3:
            raise RunError("Cannot write the file: No space left on device", where=path)
        written.append(path)
        inner(path, result)  # type: ignore[arg-type]

    monkeypatch.setattr(type(writer), "write", lambda self, path, result: full(path, result))
    with pytest.raises(RunError, match="No space left"):
        segment([folder], out)
    monkeypatch.undo()
    monkeypatch.setattr(pipeline, "model_of", quick.quick_model)
    assert segment([folder], out) == []
    assert len(list((out / "parts").rglob("*.json"))) == 8


def test_what_an_engine_cannot_do_costs_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(3):
        Pillow.fromarray(spots(n)).save(tmp_path / f"{n}.png")
    inner = MODEL.look

    def greedy(image: object, *rest: object) -> object:
        if image.name == "1.png":  # type: ignore[attr-defined]
            raise RuntimeError("not enough memory: you tried to allocate 99999999999 bytes.")
        return inner(image, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(MODEL, "look", greedy)
    (failure,) = segment([tmp_path], tmp_path / "out")
    assert failure.file.endswith("1.png")
    assert "not enough memory" in failure.reason


def test_a_source_is_left_of_nothing_only_when_everything_is_there(tmp_path: Path) -> None:
    from organoseg.inference.items import make_plan
    from organoseg.inference.settings import PredictSettings

    Pillow.fromarray(spots(0)).save(tmp_path / "a.png")
    (item,) = make_plan([tmp_path / "a.png"], PredictSettings(), tmp_path / "out").items
    assert left_of(tmp_path / "out", item, lambda key: True).anew
    segment([tmp_path / "a.png"], tmp_path / "out")
    assert left_of(tmp_path / "out", item, lambda key: True).done
    assert not left_of(tmp_path / "out", item, lambda key: False).done


def test_planes_keep_their_numbers_when_one_of_them_is_lost(tmp_path: Path) -> None:
    for z in range(4):
        tifffile.imwrite(tmp_path / f"P_p00_z{z:02d}_0_A01f00d0.TIF", spots(z))
    (tmp_path / "P_p00_z01_0_A01f00d0.TIF").write_bytes(b"II")
    out = tmp_path / "out"
    (failure,) = segment([tmp_path], out, z="each")
    assert failure.file.endswith("z01_0_A01f00d0.TIF")
    assert [name.rpartition(".")[2] for name in MODEL.seen] == ["z0", "z2", "z3"]
    found = read_instances(part_path(out, MODEL.seen[-1]))[MODEL.seen[-1]]
    assert found.to_rles() == MODEL.look(Image(spots(3)))[0].to_rles()


def test_a_picture_without_one_of_its_planes_says_so(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(tmp_path / f"P_p00_z{z:02d}_0_A01f00d0.TIF", spots(z))
    (tmp_path / "P_p00_z02_0_A01f00d0.TIF").write_bytes(b"II")
    out = tmp_path / "out"
    segment([tmp_path], out, z="max")
    (facts,) = (read_json(p) for p in (out / "facts").rglob("*.json"))
    assert facts["warnings"] == ["1 of 3 focus planes could not be read"]


def test_results_of_a_source_that_has_changed_are_gone_even_if_the_run_is_killed_or_it_is_broken(
    tmp_path: Path,
) -> None:
    file, out = tmp_path / "film.tif", tmp_path / "out"
    stack = np.stack([spots(t) for t in range(4)])
    tifffile.imwrite(file, stack, imagej=True, metadata={"axes": "TYX"})
    segment([file], out)
    assert len(list((out / "parts").rglob("*.json"))) == 4
    file.write_bytes(file.read_bytes()[:500])
    assert len(segment([file], out)) == 1
    assert not list((out / "parts").rglob("*.json"))


def test_of_a_film_only_the_pictures_that_failed_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = np.stack([spots(t) for t in range(5)])
    tifffile.imwrite(tmp_path / "film.tif", stack, imagej=True, metadata={"axes": "TYX"})
    inner = MODEL.look

    def greedy(image: Image, *rest: object) -> object:
        if image.name.endswith("t2"):
            raise RuntimeError("not enough memory")
        return inner(image, *rest)

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(MODEL, "look", greedy)
        assert len(segment([tmp_path / "film.tif"], out)) == 1
    MODEL.seen.clear()
    assert segment([tmp_path / "film.tif"], out) == []
    assert MODEL.seen == ["film.tif.t2"]


def test_the_network_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(3):
        Pillow.fromarray(spots(n)).save(folder / f"{n}.png")
    looked = threading.Event()
    inner_look, writer = MODEL.look, PICTURE_WRITERS["labels"]
    inner_write = writer.write

    def look(image: Image, *rest: object) -> object:
        found = inner_look(image, *rest)
        if len(MODEL.seen) == 3:
            looked.set()
        return found

    def write(self: object, path: Path, result: object) -> None:
        # The first file is not written before the last picture was looked at.
        assert looked.wait(20)
        inner_write(path, result)  # type: ignore[arg-type]

    monkeypatch.setattr(MODEL, "look", look)
    monkeypatch.setattr(type(writer), "write", write)
    assert segment([folder], tmp_path / "out") == []


def test_pictures_of_one_size_are_looked_at_together_and_a_bad_one_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for n in range(7):
        Pillow.fromarray(spots(n)[: 40 - 4 * (n > 3)]).save(folder / f"{n}.png")
    inner = MODEL.look

    def greedy(image: Image, *rest: object) -> object:
        if image.name == "1.png":
            raise RuntimeError("not enough memory")
        return inner(image, *rest)

    monkeypatch.setattr(MODEL, "look", greedy)
    MODEL.together.clear()
    (failure,) = segment([folder], out, batch=3)
    assert failure.file.endswith("1.png")
    assert max(MODEL.together) <= 3
    assert len(list((out / "parts").rglob("*.json"))) == 6
    segment([folder], tmp_path / "alone")
    parts = {p.name: p.read_bytes() for p in (out / "parts").rglob("*.json")}
    assert parts == {p.name: p.read_bytes() for p in (tmp_path / "alone/parts").rglob("*.json")}


def test_large_pictures_wait_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        Pillow.fromarray(spots(n)).save(tmp_path / f"{n}.png")
    monkeypatch.setattr(pipeline, "ON_THE_WAY", 1)  # less than any: one at a time
    assert segment([tmp_path], tmp_path / "out") == []
    assert len(MODEL.seen) == 6


def test_a_store_cannot_name_its_way_out_of_the_folder_of_results(tmp_path: Path) -> None:
    for number, name in enumerate(("../../evil", "/evil")):
        root = zarr.open_group(tmp_path / f"{number}.zarr", mode="w", zarr_format=3)
        root.create_array("0", data=spots(number))
        root.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}],
        }
        root.attrs["organoseg"] = {"name": name}
        out = tmp_path / "a" / f"out{number}"
        assert segment([tmp_path / f"{number}.zarr"], out) == []
        assert len(list((out / "parts").rglob("*evil.json"))) == 1
    assert not [p for p in tmp_path.rglob("*evil*") if "out" not in p.parts[-3]]


def test_two_runs_never_share_a_folder_and_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "labels" / ".tmp-1.zarr").mkdir(parents=True)
    (out / "labels" / ".tmp-2").touch()
    with alone(out):
        assert not list(out.rglob(".tmp-*"))
        with pytest.raises(UsageError, match="another run"), alone(out):
            pass
    with alone(out):
        pass
