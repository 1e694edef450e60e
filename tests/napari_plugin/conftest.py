"""A window for the tests: a real one under Xvfb where it is installed, else none, and the tests that need it skip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

NEEDED = ("napari", "qtpy", "superqt", "pytestqt")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if MISSING:
    collect_ignore_glob = ["test_*_gui.py"]


def binding() -> str | None:
    """The Qt binding that is installed; PySide6 first."""
    for module, name in (("PySide6", "pyside6"), ("PyQt6", "pyqt6")):
        if importlib.util.find_spec(module) is not None:
            return name
    return None


# napari reads this once: the tests neither read nor change what the user has set.
os.environ["NAPARI_CONFIG"] = str(
    Path(tempfile.mkdtemp(prefix="organoseg-napari-")) / "napari.yaml"
)
if "QT_API" not in os.environ and (found := binding()) is not None:
    os.environ["QT_API"] = found


class Screen:
    """A display of our own. It ends with this process and not before: Qt does not survive its end."""

    def __init__(self) -> None:
        read, write = os.pipe()
        size = ("-screen", "0", "1600x1000x24")
        command = ["Xvfb", "-displayfd", str(write), *size, "-nolisten", "tcp"]
        self.process = subprocess.Popen(
            command, pass_fds=(write,), stderr=subprocess.DEVNULL, preexec_fn=_end_with_parent
        )
        os.close(write)
        with os.fdopen(read) as numbers:
            self.number = numbers.readline().strip()


def _end_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def window_is_missing() -> str | None:
    """Why there can be no window; None where there can be one."""
    if MISSING:
        return f"not installed: {', '.join(MISSING)} (pip install 'organoseg[dev,napari]')"
    if binding() is None:
        return "no Qt binding is installed (pip install PySide6-Essentials)"
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        if shutil.which("Xvfb") is None:
            return "no display and no Xvfb (apt-get install xvfb libgl1-mesa-dri; see .ci/window)"
        if not _has_xcb_libraries():
            return "Qt's libraries for X11 are not installed (see .ci/window)"
    return None


def _has_xcb_libraries() -> bool:
    from ctypes import util

    names = ("xcb-cursor", "xcb-icccm", "xcb-keysyms", "EGL", "xkbcommon-x11")
    return all(util.find_library(name) for name in names)


@pytest.fixture(scope="session")
def screen() -> str:
    """A display; skips, with the reason, where there can be none."""
    reason = window_is_missing()
    if reason is not None:
        pytest.skip(f"no window: {reason}")
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY"):
        return os.environ.get("DISPLAY", "")
    os.environ["DISPLAY"] = f":{Screen().number}"
    return os.environ["DISPLAY"]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh place for what the plugin remembers, and a working folder without models."""
    folder = tmp_path / "settings"
    monkeypatch.setenv("ORGANOSEG_CONFIG_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def manifest(repository: Path) -> Any:
    """The plugin's manifest."""
    from npe2 import PluginManifest

    return PluginManifest.from_file(repository / "napari_plugin" / "napari.yaml")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return Path(__file__).resolve().parents[2]
