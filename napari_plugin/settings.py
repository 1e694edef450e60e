"""What a user set: in napari's own preferences where it has them (0.9 and later), else in a file of ours."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Any

from organoseg.core import DataError, read_json, write_json

from .actions import ACTIONS

_FILE = "napari.json"


def settings_file() -> Path:
    """Where napari has no place for it: models, recent folders, and on old napari all settings.

    ``ORGANOSEG_CONFIG_DIR`` names another folder.
    """
    folder = os.environ.get("ORGANOSEG_CONFIG_DIR")
    if folder is None:
        from platformdirs import user_config_dir

        folder = user_config_dir("organoseg")
    return Path(folder) / _FILE


def recall(name: str, default: Any) -> Any:
    """A remembered value; ``default`` where there is none or the file is unreadable."""
    try:
        value = read_json(settings_file()).get(name, default)
    except (DataError, AttributeError):
        return default
    return value if default is None or isinstance(value, type(default)) else default


def remember(name: str, value: Any) -> None:
    """Keep a value for the next start."""
    try:
        known = read_json(settings_file())
    except DataError:
        known = {}
    write_json(settings_file(), {**(known if isinstance(known, dict) else {}), name: value})


def _preference(group: str, name: str) -> Any:
    """A value of napari's plugin preferences; None before napari 0.9 or where it is not set."""
    try:
        from napari.settings import get_plugin_settings

        return getattr(getattr(get_plugin_settings("organoseg"), group), name)
    except (ImportError, AttributeError, KeyError, ValueError):
        return None


def reviewer() -> str:
    """The name under which corrections are kept."""
    name = _preference("review", "reviewer") or recall("reviewer", "")
    if name:
        return str(name)
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def random_share() -> float:
    """Share of the queue that is drawn at random, 0 to 1, so that accuracy can be estimated without bias."""
    chosen = _preference("review", "random_share")
    share = recall("random_share", 0.2) if chosen is None else chosen
    return min(max(float(share), 0.0), 1.0)


def keys() -> dict[str, str]:
    """Key by name of action, as the user chose them. No two share one: whom another took it from gets a free one."""
    mine = recall("keys", {})
    wanted = {a.name: _preference("keys", a.name) or mine.get(a.name) or a.key for a in ACTIONS}
    own = {a.name: a.key for a in ACTIONS}
    chosen: dict[str, str] = {}
    # Those that the user changed come first: their wish counts.
    for name in sorted(wanted, key=lambda n: wanted[n] == own[n]):
        free = (
            k for k in (str(wanted[name]), own[name], *own.values()) if k not in chosen.values()
        )
        chosen[name] = next(free)
    return {action.name: chosen[action.name] for action in ACTIONS}


def set_key(name: str, key: str) -> None:
    """Keep another key for an action, in napari's preferences where it has them."""
    if not _prefer("keys", name, key):
        remember("keys", {**recall("keys", {}), name: key})


def _prefer(group: str, name: str, value: Any) -> bool:
    """Set one of napari's plugin preferences; False before napari 0.9."""
    try:
        from napari.settings import get_plugin_settings

        setattr(getattr(get_plugin_settings("organoseg"), group), name, value)
    except (ImportError, AttributeError, KeyError, ValueError):
        return False
    return True
