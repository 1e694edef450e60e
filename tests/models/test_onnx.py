"""A model in an ONNX file says what the model in its folder says, and only files of ours are run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from organoseg.core import DataError, UsageError
from organoseg.models.compact.engine import CompactSegmenter
from organoseg.models.folder import save_model

pytest.importorskip("onnx", reason="onnx is not installed (pip install organoseg[onnx])")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (organoseg[onnx])")

import onnx

from organoseg.inference.api import load_model
from organoseg.models.compact import arrays
from organoseg.models.compact.decode import _enlarged
from organoseg.models.compact.network import draw_masks
from organoseg.models.export.onnx_engine import OUTPUTS, load_onnx
from organoseg.models.export.onnx_file import KEY, open_session
from organoseg.models.export.onnx_write import write_int8, write_onnx

torch.set_num_threads(1)


def speaking(classes: tuple[int, ...] = (1,), padding: Any = "tensorflow") -> CompactSegmenter:
    """A network with random weights that sees organoids in many places."""
    torch.manual_seed(4)
    engine = CompactSegmenter(classes, 16, padding, 0, max_instances=60).eval()
    with torch.no_grad():
        engine.network.score.bias.fill_(0.0)
        engine.network.score.weight.mul_(40)
        engine.network.controller.weight.mul_(8)
    options = {"width": 16, "frozen_blocks": 0, "padding": padding, "max_instances": 60, "nms": 0.6}
    engine.options = options
    return engine


def save(folder: Path, engine: CompactSegmenter) -> Path:
    classes = {c: f"kind {c}" for c in engine.classes}
    save_model(folder, engine, "compact", engine.options, classes, 0.4, {"method": "supervised"})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model folder, and what was exported of it."""
    folder = tmp_path_factory.mktemp("onnx")
    model = save(folder / "model", speaking())
    write_onnx(model, folder / "model.onnx")
    return model, folder / "model.onnx"


@pytest.fixture
def pixels() -> torch.Tensor:
    """Two images with something round in them."""
    noise = torch.randn(2, 1, 50, 70, generator=torch.Generator().manual_seed(6))
    return torch.nn.functional.avg_pool2d(noise, 7, 1, 3) * 5


@pytest.mark.parametrize("padding", ["tensorflow", "symmetric"])
def test_the_graph_is_the_network(tmp_path: Path, padding: str) -> None:
    engine = speaking((3, 7), padding)
    write_onnx(save(tmp_path / "model", engine), tmp_path / "model.onnx")
    exported, description = load_onnx(tmp_path / "model.onnx")
    assert exported.classes == (3, 7)
    assert description.classes == {3: "kind 3", 7: "kind 7"}
    for shape in ((1, 1, 32, 64), (2, 1, 96, 32)):
        x = torch.randn(*shape)
        with torch.no_grad():
            scores, features, masks = engine.network(x)
            control = {
                s: engine.network.controller(f.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
                for s, f in features.items()
            }
        wanted = {f"score{s}": v for s, v in scores.items()}
        wanted |= {f"controller{s}": v for s, v in control.items()}
        wanted |= {f"mask{s}": v for s, v in masks.items()}
        found = exported.outputs(x.numpy())
        assert set(found) == set(OUTPUTS)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value.numpy(), atol=1e-3, rtol=1e-4)


def test_answers_are_equal(made: tuple[Path, Path], pixels: torch.Tensor) -> None:
    engine, (exported, _) = speaking(), load_onnx(made[1])
    wanted, found = engine.segment(pixels, 0.4), exported.segment(pixels.numpy(), 0.4)
    assert sum(map(len, wanted)) > 4
    for one, other in zip(wanted, found, strict=True):
        assert len(one) == len(other)
        assert one.shape == other.shape
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
        assert one.classes.tolist() == other.classes.tolist()
        assert (np.diag(one.iou(other)) > 0.999).all()


def test_arrays_draw_what_tensors_draw() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 8, 24, 16, generator=generator)
    parameters = torch.randn(3, 169, generator=generator)
    at = [torch.tensor(v) for v in ([0, 1, 1], [0, 5, 2], [3, 0, 1])]
    with torch.no_grad():
        wanted = draw_masks(features, parameters, *at).numpy()
    found = arrays.draw(features.numpy(), parameters.numpy(), *(v.numpy() for v in at))
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
    for cell in (2, 4, 8):
        np.testing.assert_allclose(
            arrays.enlarged(wanted, cell), _enlarged(wanted, cell), atol=1e-4, rtol=1e-4
        )


def test_the_short_road(made: tuple[Path, Path]) -> None:
    image = np.random.default_rng(3).integers(0, 255, (40, 60), np.uint8)
    model, exported = load_model(made[0], "cpu"), load_model(made[1])
    one, other = model.predict(image), exported.predict(image)
    assert abs(len(one) - len(other)) <= 1  # a score may lie at the threshold
    assert other.sources[:1] == (f"model:{exported.description.identity}",)[: len(other)]
    assert exported.description.identity.startswith("compact-onnx-")
    assert exported.description.trained_with["exported_from"] == model.description.identity
    assert exported.score_threshold == model.score_threshold
    thorough = load_model(made[1], thorough=True).predict(image, 0.1)
    wanted = load_model(made[0], "cpu", thorough=True).predict(image, 0.1)
    assert abs(len(thorough) - len(wanted)) <= 1


def test_it_predicts_without_torch(made: tuple[Path, Path]) -> None:
    code = (
        "import sys, numpy, organoseg\n"
        f"organoseg.load_model({str(made[1])!r}).predict(numpy.zeros((40, 40), 'uint8'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_device_is_not_silently_the_processor(made: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="processor"):
        load_model(made[1], device="cuda")
    with pytest.raises(UsageError, match="bf16"):
        load_model(made[1], precision="bf16")


def test_eight_bits(made: tuple[Path, Path], tmp_path: Path, pixels: torch.Tensor) -> None:
    images = [p[0] for p in pixels.numpy()]
    description = write_int8(made[0], tmp_path / "small.onnx", images)
    assert description.engine == "compact-onnx-int8"
    small, (exported, _) = load_onnx(tmp_path / "small.onnx")[0], load_onnx(made[1])
    assert (tmp_path / "small.onnx").stat().st_size < 0.4 * made[1].stat().st_size
    one, other = (e.outputs(arrays.padded(pixels.numpy())) for e in (exported, small))
    for name in OUTPUTS:
        close = np.corrcoef(one[name].ravel(), other[name].ravel())[0, 1]
        assert close > 0.9, name
    with pytest.raises(UsageError, match="calibrate"):
        write_int8(made[0], tmp_path / "none.onnx", [])


# -- files that are not ours -----------------------------------------------------------------


def test_no_onnx_file(tmp_path: Path, made: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="no model"):
        load_onnx(tmp_path / "absent.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(DataError, match="cannot read"):
        load_onnx(tmp_path / "text.onnx")
    whole = made[1].read_bytes()
    (tmp_path / "half.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError):
        load_onnx(tmp_path / "half.onnx")
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(DataError):
        load_onnx(tmp_path / "empty.onnx")


def foreign(path: Path, said: str | None, location: str | None = None) -> Path:
    """A valid ONNX file with one layer, as another program would write it."""
    weight = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    if location is not None:
        weight.ClearField("raw_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["pixels", "w"], ["y"])],
        "other",
        [value("pixels", kind, [1, 1, None, None])],
        [value("y", kind, [1, 1, None, None])],
        [weight],
    )
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    if said is not None:
        proto.metadata_props.add(key=KEY, value=said)
    path.write_bytes(proto.SerializeToString())
    return path


def description(path: Path) -> dict[str, Any]:
    found = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
    facts: dict[str, Any] = json.loads(found[KEY])
    return facts


def test_a_foreign_network(tmp_path: Path, made: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="not written by organoseg"):
        load_onnx(foreign(tmp_path / "a.onnx", None))
    with pytest.raises(DataError, match="description"):
        load_onnx(foreign(tmp_path / "b.onnx", "{"))
    with pytest.raises(DataError, match="description"):
        load_onnx(foreign(tmp_path / "c.onnx", "[1, 2]"))
    said = description(made[1])
    with pytest.raises(DataError, match="does not take images as ours do"):
        load_onnx(foreign(tmp_path / "d.onnx", json.dumps(said)))
    with pytest.raises(DataError, match="options"):
        load_onnx(foreign(tmp_path / "e.onnx", json.dumps({**said, "options": {"nms": 7}})))


def test_a_description_of_other_classes(tmp_path: Path, made: tuple[Path, Path]) -> None:
    proto = onnx.load(str(made[1]))
    said = {**description(made[1]), "classes": {"1": "a", "2": "b"}}
    proto.metadata_props[0].value = json.dumps(said)
    onnx.save(proto, str(tmp_path / "more.onnx"))
    with pytest.raises(DataError, match="score8"):
        load_onnx(tmp_path / "more.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../secret.bin", "/etc/hostname"])
def test_no_other_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for where in (inner / "weights.bin", tmp_path / "secret.bin"):
        where.write_bytes(np.ones(1, np.float32).tobytes())
    monkeypatch.chdir(inner)
    with pytest.raises(DataError, match="cannot read"):
        load_onnx(foreign(inner / "model.onnx", None, location))


def test_only_compact_models_are_exported(tmp_path: Path, made: tuple[Path, Path]) -> None:
    text = (made[0] / "model.yaml").read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "weights.safetensors").write_bytes((made[0] / "weights.safetensors").read_bytes())
    (other / "model.yaml").write_text(text.replace("engine: compact", "engine: absent"))
    with pytest.raises(UsageError):
        write_onnx(other, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_weights_of_another_file_are_not_read_even_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = onnx.numpy_helper.from_array(np.arange(4096, dtype=np.float32), "w")
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [4096]) for n in "xy"]
    add = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([add], "g", ends[:1], ends[1:], [weights])
    made = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(
        made, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="cannot read"):
        open_session((tmp_path / "m.onnx").read_bytes(), tmp_path / "m.onnx")
