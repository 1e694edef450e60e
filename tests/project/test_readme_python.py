"""The README's Python is run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

from organoseg.core import Instances
from organoseg.models.folder import save_model
from organoseg.models.registry import build_engine


@pytest.mark.filterwarnings("ignore:.*max_instances")
def test_the_readmes_python_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    engine = build_engine("compact", (1,), {"width": 16, "max_instances": 20}, None)
    options: dict[str, Any] = engine.options  # type: ignore[assignment]
    save_model(tmp_path / "runs/first/model", engine, "compact", options, {1: "organoid"}, 0.0, {})
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "plate1_A01.tif", pixels)
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 (our own page)
    assert isinstance(names["organoids"], Instances)
    assert names["labels"].shape == (64, 64)
