"""Where downloads are kept on this computer, and whether there may be any."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Where downloads are kept: ``$ORGANOSEG_CACHE``, else the user's cache folder."""
    base = os.environ.get("ORGANOSEG_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "organoseg"


def offline() -> bool:
    """Whether downloads are forbidden: ``ORGANOSEG_OFFLINE=1``."""
    return os.environ.get("ORGANOSEG_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")
