"""The lower rooms stay light: no torch, Qt or napari, and no heavy package before it is used."""

import subprocess
import sys

import pytest

import organoseg

ROOMS = [
    "organoseg",
    *(f"organoseg.{r}" for r in ("core", "io", "archive", "dataset", "evaluation", "review")),
    "organoseg.models.published",
    "organoseg.training.recipe",
]


@pytest.mark.parametrize("room", ROOMS)
def test_room_loads_neither_torch_nor_qt(room: str) -> None:
    code = (
        f"import sys, {room}\n"
        "bad = {'torch', 'qtpy', 'PyQt5', 'PyQt6', 'PySide6', 'napari', 'transformers'}\n"
        "print(sorted(bad & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_importing_the_package_loads_no_array_library() -> None:
    code = "import sys, organoseg; print('numpy' in sys.modules, organoseg.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", organoseg.__version__]


def test_public_names_come_when_asked_for() -> None:
    from organoseg.core import Image, Instances
    from organoseg.io import read_image

    assert organoseg.Image is Image
    assert organoseg.Instances is Instances
    assert organoseg.read_image is read_image
    assert "predict" in dir(organoseg)
    with pytest.raises(AttributeError, match="segment_everything"):
        _ = organoseg.segment_everything
