"""Microscopes' own files: every scene, channel and plane, and never only the first in silence."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from organoseg.core import DataError, MissingPartError
from organoseg.inference.frames import Frame, frames
from organoseg.inference.items import Failure, make_plan
from organoseg.inference.settings import PredictSettings
from organoseg.io import read_image, vendor
from organoseg.io.vendor import VendorFile


class Lazy:
    """What dask gives: pixels that are read when they are computed."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def compute(self, scheduler: str = "") -> np.ndarray:
        return self.pixels


class FakeReader:
    """As readers of bioio behave; ``SCENES`` has the pixels of each scene by name, with their axes."""

    SCENES: ClassVar[dict[str, tuple[str, np.ndarray]]] = {}
    SIZES = SimpleNamespace(Z=1.0, Y=0.5, X=0.25)

    def __init__(self, path: str) -> None:
        if Path(path).read_bytes() != b"whole":
            raise ValueError("not such a file")
        self.set_scene(0)

    @property
    def scenes(self) -> tuple[str, ...]:
        return tuple(self.SCENES)

    def set_scene(self, number: int) -> None:
        self.order, self.pixels = list(self.SCENES.values())[number]
        self.dims = SimpleNamespace(order=self.order)
        self.shape = self.pixels.shape
        self.physical_pixel_sizes = self.SIZES
        channels = self.pixels.shape[self.order.index("C")] if "C" in self.order else 0
        self.channel_names = [f"dye {n}" for n in range(channels)] or None

    def get_image_dask_data(self, letters: str, **at: int) -> Lazy:
        index = tuple(at.get(a, slice(None) if a in letters else 0) for a in self.order)
        left = [a for a in self.order if a in letters]
        return Lazy(self.pixels[index].transpose([left.index(a) for a in letters]))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bioio_nd2", "bioio_lif", "bioio_czi"):
        module = ModuleType(name)
        module.Reader = FakeReader  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(vendor, "_scenes_of_czi", lambda path: len(FakeReader.SCENES))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 60000, shape).astype(np.uint16)


def save(path: Path, **scenes: tuple[str, np.ndarray]) -> Path:
    FakeReader.SCENES = scenes
    path.write_bytes(b"whole")
    return path


def pictures(path: Path, **how: Any) -> tuple[dict[str, Frame], list[Failure]]:
    settings, failures = PredictSettings(**how), list[Failure]()
    items = make_plan([path], settings, Path("nowhere")).items
    found = [f for item in items for f in frames(item, settings, failures.append)]
    return {f.key: f for f in found}, failures


@pytest.mark.parametrize("ending", [".czi", ".nd2", ".LIF"])
def test_one_scene_is_an_image_with_axes_and_pixel_size(tmp_path: Path, ending: str) -> None:
    pixels = noise(1, 2, 3, 20, 30)
    image = read_image(save(tmp_path / f"a{ending}", only=("TCZYX", pixels)))
    assert image.axes == "CZYX"
    assert np.array_equal(image.pixels, pixels[0])
    assert image.pixel_size == (0.5, 0.25)


def test_colour_becomes_grey(tmp_path: Path) -> None:
    pixels = np.repeat(noise(1, 20, 30, 1), 3, axis=3)
    image = read_image(save(tmp_path / "a.lif", only=("TYXS", pixels)))
    assert image.axes == "YX"
    assert np.array_equal(image.pixels, pixels[0, ..., 0])


def test_every_scene_is_segmented_and_none_is_read_as_an_image_alone(tmp_path: Path) -> None:
    one, two = noise(2, 20, 30), noise(2, 24, 36)
    path = save(tmp_path / "a.nd2", A1=("TYX", one), A2=("TYX", two))
    with pytest.raises(DataError, match=r"2 images \(A1, A2\)"):
        read_image(path)
    found, failures = pictures(path)
    assert not failures
    assert list(found) == ["a.nd2.s0.t0", "a.nd2.s0.t1", "a.nd2.s1.t0", "a.nd2.s1.t1"]
    assert np.array_equal(found["a.nd2.s1.t1"].image.pixels, two[1])
    assert [f.fields["scene"] for f in found.values()] == ["A1", "A1", "A2", "A2"]
    assert found["a.nd2.s1.t1"].fields["series"] == "a.nd2.s1"


def test_a_channel_is_chosen_by_number_or_name(tmp_path: Path) -> None:
    pixels = noise(3, 20, 30)
    path = save(tmp_path / "a.czi", only=("CYX", pixels))
    _, (failure,) = pictures(path)
    assert "3 channels (dye 0, dye 1, dye 2)" in failure.reason
    for channel in ("2", "dye 2"):
        (frame,) = pictures(path, channel=channel)[0].values()
        assert np.array_equal(frame.image.pixels, pixels[2])


def test_tiles_that_are_not_joined_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.lif", only=("MYX", noise(4, 20, 30)))
    with pytest.raises(DataError, match="4 along M"):
        read_image(path)


def test_scenes_that_metadata_keep_silent_about_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.czi", only=("YX", noise(20, 30)))
    monkeypatch.setattr(vendor, "_scenes_of_czi", lambda path: 3)
    with pytest.raises(DataError, match="2 images more"):
        VendorFile(path)


def test_a_damaged_file_and_a_package_that_is_not_there_cost_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.nd2", only=("YX", noise(20, 30)))
    path.write_bytes(b"half")
    _, (failure,) = pictures(path)
    assert "Cannot be read as ND2: not such a file" in failure.reason
    monkeypatch.setitem(sys.modules, "bioio_nd2", None)
    with pytest.raises(MissingPartError, match=r"pip install 'organoseg\[nd2\]'"):
        read_image(path)
    _, (failure,) = pictures(path)
    assert "pip install" in failure.reason


def test_a_real_czi_is_read_plane_by_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    pytest.importorskip("bioio_czi", reason="bioio-czi is not installed (extra czi)")
    czi = pytest.importorskip(
        "pylibCZIrw.czi", reason="pylibCZIrw, which writes the file, is absent"
    )
    pixels = noise(2, 3, 40, 50)
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as file:
        for c, z in np.ndindex(2, 3):
            file.write(data=pixels[c, z, ..., None], plane={"C": c, "Z": z, "T": 0})
        file.write_metadata(
            "a", scale_x=0.5e-6, scale_y=0.5e-6, channel_names={0: "phase", 1: "GFP"}
        )
    image = read_image(path)
    assert (image.axes, image.pixel_size) == ("CZYX", (0.5, 0.5))
    assert np.array_equal(image.pixels, pixels)
    (frame,) = pictures(path, channel="GFP", z="max")[0].values()
    assert np.array_equal(frame.image.pixels, pixels[1].max(0))
