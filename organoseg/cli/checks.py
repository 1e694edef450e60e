"""What `organoseg doctor` looks at: each check gives findings, none raises."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

LOW_DISK = 5 * 10**9
FOR_DEVELOPERS = ("bench", "dev", "docs", "peers", "window")
#: What a user misses who has not installed a part.
PURPOSES = {
    "cluster": "work on Dask clusters (--dask)",
    "czi": "Zeiss CZI files",
    "fast": "faster reading of zarr archives",
    "lif": "Leica LIF files",
    "mask2former": "engine `mask2former`",
    "napari": "the napari plugin",
    "nd2": "Nikon ND2 files",
    "onnx": "models for computers without torch",
    "track": "organoids over time",
}

#: What qtpy opens windows with.
QT_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")

State = Literal["ok", "absent", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `absent` is an optional part that is not there."""

    topic: str
    name: str
    value: str
    state: State = "ok"
    remedy: str | None = None


def examine(folder: Path) -> Iterator[Finding]:
    """Look at this computer and installation, and at `folder`, where results would go."""
    from organoseg import __version__

    yield Finding("system", "organoseg", __version__)
    yield Finding("system", "python", platform.python_version())
    yield Finding("system", "platform", platform.platform())
    yield Finding("system", "executable", sys.executable)
    yield from packages()
    yield from window_toolkit()
    yield detectron2()
    yield from torch_device()
    yield from weights()
    yield starter_model()
    yield from folders(folder)


def packages() -> Iterator[Finding]:
    """The packages that organoseg needs, and the optional ones, against the floors it states."""
    from packaging.requirements import Requirement

    try:
        stated = metadata.requires("organoseg") or []
    except metadata.PackageNotFoundError:
        remedy = "Run `make setup`, or `pip install -c constraints.txt -e .`, in the checkout."
        yield Finding("packages", "organoseg", "not installed", "problem", remedy)
        return
    for requirement in map(Requirement, stated):
        extra = _extra(str(requirement.marker)) if requirement.marker else None
        if extra in FOR_DEVELOPERS:
            continue
        yield _package(requirement.name, str(requirement.specifier), extra)


def _extra(marker: str) -> str | None:
    _, found, name = marker.partition("extra == ")
    return name.strip("\"'() ") if found else None


def _package(name: str, floor: str, extra: str | None) -> Finding:
    from packaging.specifiers import SpecifierSet

    topic = "optional parts" if extra else "packages"
    install = f'pip install "{name}{floor}"'
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        purpose = PURPOSES.get(extra or "")
        value = "not there" + (f": {purpose} (part `{extra}`)" if purpose else "")
        return Finding(topic, name, value, "absent" if extra else "problem", install)
    if not SpecifierSet(floor).contains(version, prereleases=True):
        return Finding(topic, name, f"{version}, needed {floor}", "problem", install)
    return Finding(topic, name, version)


def window_toolkit() -> Iterator[Finding]:
    """Where napari is installed: the Qt that opens its window, which napari leaves to the user to choose."""
    if find_spec("napari") is None:
        return
    topic, name = "optional parts", "Qt"
    for binding in QT_BINDINGS:
        if find_spec(binding) is not None:
            yield Finding(topic, name, binding)
            return
    yield Finding(
        topic, name, "not there: napari opens no window", "absent", 'pip install "napari[pyqt6]"'
    )


def detectron2() -> Finding:
    """The engine that no package registry has: whether it is there, with what, and how it is installed."""
    from organoseg.models.detectron2.presence import INSTALL, is_there, look

    topic, name = "optional parts", "detectron2"
    if not is_there():
        return Finding(topic, name, "not there (engine `detectron2`)", "absent", INSTALL)
    try:
        found = look()
    except (ImportError, OSError) as error:  # torch itself; its own check says more
        return Finding(topic, name, str(error), "problem", INSTALL)
    beside = f"torch {found.torch}, torchvision {found.torchvision or 'not there'}"
    if found.problem is not None:
        return Finding(
            topic, name, f"{found.version}, {beside}: {found.problem}", "problem", INSTALL
        )
    operators = f"with CUDA {found.cuda}" if found.cuda else "without CUDA"
    own = f"compiled operators {operators}" if found.compiled else "no compiled operators"
    return Finding(topic, name, f"{found.version}, {beside}; {own} (Mask R-CNN needs none)")


def torch_device() -> Iterator[Finding]:
    """Whether torch works, on what, and with how many threads."""
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = "Install torch as https://pytorch.org/get-started says for this computer."
        yield Finding("torch", "import", str(error), "problem", remedy)
        return
    yield Finding("torch", "version", f"{torch.__version__}, {_built_for(torch)}")
    gpus = range(torch.cuda.device_count())
    if gpus:
        yield from (_gpu(torch, number) for number in gpus)
    elif torch.backends.mps.is_available():
        yield Finding("torch", "device", "mps")
    else:
        yield _no_gpu(torch)
    yield Finding("torch", "threads", f"{torch.get_num_threads()} of {usable_cores()} cores")


def _built_for(torch: Any) -> str:
    if torch.version.cuda:
        return f"for CUDA {torch.version.cuda}"
    return f"for ROCm {torch.version.hip}" if torch.version.hip else "for the processor"


def _gpu(torch: Any, number: int) -> Finding:
    name = f"cuda:{number}"
    try:
        free, whole = torch.cuda.mem_get_info(number)
        chip = torch.cuda.get_device_name(number)
        torch.zeros(1, device=name).add_(1).item()
    except RuntimeError as error:
        remedy = (
            "Restart the computer or end what uses the GPU; if that is no help, renew its driver."
        )
        return Finding("torch", name, str(error).partition("\n")[0], "problem", remedy)
    formats = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16, no bf16"
    return Finding(
        "torch", name, f"{chip}, {free / 1e9:.1f} of {whole / 1e9:.1f} GB free, {formats}"
    )


def _no_gpu(torch: Any) -> Finding:
    """An NVIDIA GPU that torch cannot use is worth a word: training takes days instead of hours."""
    if not (shutil.which("nvidia-smi") and Path("/dev/nvidiactl").exists()):
        return Finding("torch", "device", "cpu")
    remedy = "Install torch for CUDA as https://pytorch.org/get-started says, and a driver that is new enough."
    return Finding("torch", "device", "cpu, though there is an NVIDIA GPU", "problem", remedy)


def weights() -> Iterator[Finding]:
    """Which published weights are on this computer, and whether others may be downloaded."""
    from organoseg.io.cache import offline
    from organoseg.models.published.catalogue import CATALOGUE
    from organoseg.models.published.store import find, local_folder, weights_cache

    there = [name for name, published in CATALOGUE.items() if find(published)]
    yield Finding("weights", "here", ", ".join(there) or "none yet")
    yield Finding("weights", "cache", str(weights_cache()))
    own = local_folder()
    if own is not None:
        missing = not own.is_dir()
        remedy = "Make the folder, or set ORGANOSEG_WEIGHTS to another." if missing else None
        state: State = "problem" if missing else "ok"
        yield Finding("weights", "own folder", f"{own}{' (not there)' * missing}", state, remedy)
    yield Finding(
        "weights", "downloads", "forbidden (ORGANOSEG_OFFLINE)" if offline() else "allowed"
    )


def starter_model() -> Finding:
    """The model that predicts where none is given: whether it is there, whole, and what it is."""
    from organoseg.core import DataError
    from organoseg.models.starter import starter_facts

    topic, name = "models", "starter model"
    try:
        facts = starter_facts()
    except DataError as error:
        return Finding(topic, name, error.what, "problem", error.remedy)
    value = f"{facts.identity}, {facts.size / 1e6:.1f} MB"
    if not facts.intact:
        remedy = "Install organoseg again, or give --model."
        return Finding(topic, name, f"{value}, damaged (sha256)", "problem", remedy)
    return Finding(topic, name, f"{value}, learned from synthetic pictures alone")


def usable_cores() -> int:
    """Cores this process may use: in a container fewer than the computer has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def folders(folder: Path) -> Iterator[Finding]:
    """Whether results, downloads and temporary files can be written, and the room for them."""
    from organoseg.io.cache import cache_folder

    places = {
        "results": folder,
        "downloads": cache_folder(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    for name, place in places.items():
        yield _writable(name, place)
    free = shutil.disk_usage(_existing(folder)).free
    enough = free >= LOW_DISK
    yield Finding(
        "folders",
        "free disk",
        f"{free / 1e9:.1f} GB",
        "ok" if enough else "problem",
        None if enough else "Make room, or give --out a folder on another disk.",
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _writable(name: str, folder: Path) -> Finding:
    """Write a file of no size rather than ask for permissions, which network disks misreport."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return Finding("folders", name, str(folder.absolute()))
    except OSError as error:
        remedy = f"Make {folder} writable, or choose another folder."
        return Finding("folders", name, f"{folder}: {error.strerror}", "problem", remedy)
