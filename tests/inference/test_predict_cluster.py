"""`predict` by the workers of a cluster: the files of one process, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow

from organoseg.core import read_json
from organoseg.dataset.synthetic import SyntheticSpec, make_image
from organoseg.inference.cluster import Crew
from organoseg.inference.folder import predict_folder
from organoseg.inference.progress import silent
from organoseg.models.folder import save_model
from organoseg.models.registry import build_engine

distributed = pytest.importorskip(
    "distributed", reason="needs Dask: pip install 'organoseg[cluster]'"
)

pytestmark = [
    # An untrained model draws masks over each other, and knows no scale.
    pytest.mark.filterwarnings("ignore:.*lie wholly under others"),
    pytest.mark.filterwarnings("ignore:the model does not say how large"),
]
SPEC = SyntheticSpec(size=96, count=(2, 4), radius=(8, 20))
WRITE = ("json", "csv", "labels")
IMAGES = 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model that sees something in most places."""
    torch.manual_seed(0)
    engine = build_engine("compact", (1,), {"width": 16, "max_instances": 40}, None)
    with torch.no_grad():
        engine.network.score.bias.fill_(0.0)  # type: ignore[union-attr,operator]
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(folder, engine, "compact", engine.options, {1: "organoid"}, 0.05, {})  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty images of two sizes, and one that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(IMAGES):
        pixels = make_image(number, SPEC).image.pixels
        Pillow.fromarray(pixels[: 96 - 16 * (number % 2)]).save(folder / f"well_{number:02d}.png")
    (folder / "broken.png").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers that somebody else has set up."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        silence_logs=50,
    ) as found:
        yield found


@pytest.fixture(scope="module")
def alone(images: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes."""
    out = tmp_path_factory.mktemp("alone")
    outcome = predict_folder([images], model, out, write=WRITE, tell=silent)
    assert (outcome.pictures, len(outcome.failures)) == (IMAGES, 1)
    return contents(out)


def contents(out: Path) -> dict[str, bytes]:
    """Every file but the one that says when the run was."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name != "run.json")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def test_two_workers_write_the_same_bytes_as_one_process(
    cluster: Any, images: Path, model: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    crew = Crew(address=cluster.scheduler_address)
    outcome = predict_folder([images], model, tmp_path, write=WRITE, crew=crew, tell=silent)
    assert (outcome.pictures, len(outcome.failures)) == (IMAGES, 1)
    assert contents(tmp_path) == alone


def test_a_worker_killed_in_the_middle_of_predict_loses_nothing(
    cluster: Any, images: Path, model: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        victim = sorted(client.run(os.getpid).values())[0]
    heard: list[Mapping[str, Any]] = []

    def tell(event: str, facts: Mapping[str, Any]) -> None:
        if event == "item":
            if not heard:
                os.kill(victim, signal.SIGKILL)
            heard.append(facts)

    crew = Crew(address=cluster.scheduler_address)
    outcome = predict_folder([images], model, tmp_path, write=WRITE, crew=crew, tell=tell)
    assert heard[0]["done"] < IMAGES, "the worker was killed when all was done"
    assert (outcome.pictures, len(outcome.failures)) == (IMAGES, 1)
    assert contents(tmp_path) == alone


def test_an_image_that_kills_every_process_is_a_failure_and_the_next_run_tries_it_again(
    images: Path,
    model: Path,
    alone: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one does that needs more memory than there is."""
    deadly = tmp_path / "sitecustomize.py"
    deadly.write_text(
        "import builtins, io, os, signal\n"
        "from pathlib import Path\n"
        "opened = io.open\n"
        "def guarded(file, *args, **named):\n"
        "    if str(file).endswith('well_07.png'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return opened(file, *args, **named)\n"
        "builtins.open = io.open = guarded\n"
    )
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        outcome = predict_folder([images], model, out, write=WRITE, crew=Crew(jobs=2), tell=silent)
    assert outcome.pictures == IMAGES - 1
    assert [Path(f.file).name for f in outcome.failures if "died" in f.reason] == ["well_07.png"]
    again = predict_folder([images], model, out, write=WRITE, tell=silent)
    assert (again.pictures, len(again.failures)) == (IMAGES, 1)
    assert contents(out) == alone
    assert read_json(out / "predict.json")
