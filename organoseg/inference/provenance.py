"""``run.json``: what made these results, so that somebody else can make them again."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from organoseg.core import write_json
from organoseg.inference.api import Model
from organoseg.inference.part import Part

PACKAGES = ("organoseg", "torch", "numpy", "scikit-image", "tifffile", "zarr")


def run_facts(
    model: Model, folder: Path, settings: Mapping[str, Any], begun: datetime
) -> dict[str, Any]:
    """What is known before the first picture; ``settings``: as they decided the masks."""
    description = model.description
    return {
        "model": {
            "folder": str(folder),
            "identity": description.identity,
            "engine": description.engine,
            "weights_sha256": description.weights_sha256,
            "classes": {str(k): v for k, v in description.classes.items()},
            "pixel_size": description.pixel_size,
        },
        "settings": dict(settings),
        "device": str(model.device),
        "precision": "bf16" if model.bf16 else "fp32",
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "machine": platform.machine(),
        "begun": begun.isoformat(timespec="seconds"),
    }


def write_run(
    path: Path, facts: Mapping[str, Any], parts: Iterable[Part], failed: int
) -> dict[str, Any]:
    """Write the run's facts with the pixel hash of every picture; returns them without the pictures."""
    pictures = {part.key: part.facts["identity"] for part in parts}
    known = {
        **facts,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "pictures": len(pictures),
        "failed": failed,
    }
    write_json(path, {**known, "inputs": pictures})
    return known


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
