"""Fixtures that several rooms' tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real images, weights and peers' results; tests skip where it is absent."""
    folder = Path(os.environ.get("ORGANOSEG_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (ORGANOSEG_SHARED names another folder)")
    return folder
