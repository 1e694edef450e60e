"""What run.json says: with what, from what and when results were made."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from typing import Any

#: Packages that can change a result.
_PACKAGES = (
    "torch", "onnxruntime", "numpy", "scipy", "scikit-image", "pillow", "tifffile", "imagecodecs", "zarr", "bioio",
)  # fmt: skip


def run_facts(
    *,
    model: str,
    model_hash: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    started: datetime,
    ended: datetime,
    device: str,
    **more: Any,
) -> dict[str, Any]:
    """The content of ``run.json``, ready for JSON.

    Parameters
    ----------
    model, model_hash
        The model's identity, and the hash of its weights.
    settings
        What was asked for, after defaults were filled in.
    inputs
        Hash of the decoded pixels by key of the picture.
    started, ended
        With time zone; ValueError without, as the times of two machines could not be compared.
    device
        What the network ran on.
    more
        Further entries: counts, options of the engine, cluster.
    """
    if started.tzinfo is None or ended.tzinfo is None:
        raise ValueError("the times of a run need a time zone")
    from organoseg import __version__

    return {
        "organoseg": __version__,
        "model": {"identity": model, "hash": model_hash},
        "settings": dict(settings),
        "started": started.isoformat(timespec="seconds"),
        "ended": ended.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 1),
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "device": device,
        },
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        **more,
        "inputs": dict(inputs),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
