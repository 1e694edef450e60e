"""The tiny data set, made once, and an engine that costs nothing."""

from pathlib import Path

import pytest

from organoseg.models import registry
from tests.training import fake_engine as fake
from tests.training.tiny import write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: tests that spoil data copy it first."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `engine: fake` a word that recipes may use."""
    fake.BUILT.clear()
    monkeypatch.setitem(registry.ENGINES, "fake", f"{fake.__name__}:build")
