"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data that lies beside the repository; skips where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("ORGANOSEG_SHARED", beside))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}: set ORGANOSEG_SHARED")
    return folder
