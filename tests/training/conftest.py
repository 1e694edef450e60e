"""The tiny data set, made once."""

from pathlib import Path

import pytest

from tests.training.tiny import write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: tests that spoil data copy it first."""
    return write_data(tmp_path_factory.mktemp("data"))
