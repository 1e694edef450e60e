"""Pre-trained encoders: from a file or by name, every tensor or an error, never silently random."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from organoseg.core import DataError, UsageError
from organoseg.models.compact.encoder import STAGES, TAPS, MobileNetV2
from organoseg.models.published import resolve
from organoseg.models.registry import build_engine
from organoseg.models.weights import load_encoder, read_tensors

Tensors = dict[str, Tensor]


def _conv(tensors: Tensors, conv: str, norm: str, shape: tuple[int, ...]) -> None:
    fan_in = shape[1] * shape[2] * shape[3]
    tensors[f"{conv}.weight"] = torch.randn(shape) * (2 / fan_in) ** 0.5
    n = shape[0]
    tensors[f"{norm}.weight"] = torch.rand(n) + 0.5
    tensors[f"{norm}.bias"] = torch.randn(n) * 0.1
    tensors[f"{norm}.running_mean"] = torch.randn(n) * 0.1
    tensors[f"{norm}.running_var"] = torch.rand(n) + 0.5
    tensors[f"{norm}.num_batches_tracked"] = torch.tensor(7)


def _blocks() -> list[tuple[int, int, int, int]]:
    """(inputs, hidden, outputs, stride) of the 17 blocks of MobileNetV2-1.0."""
    rows, channels = [], 32
    for expansion, outputs, repeats, stride in STAGES:
        for i in range(repeats):
            rows.append((channels, channels * expansion, outputs, stride if i == 0 else 1))
            channels = outputs
    return rows


@pytest.fixture(scope="module")
def published() -> Tensors:
    """A state dict with torchvision's names and shapes: convolutions and batch normalisations apart."""
    torch.manual_seed(0)
    tensors: Tensors = {}
    _conv(tensors, "features.0.0", "features.0.1", (32, 3, 3, 3))
    for k, (inputs, hidden, outputs, _) in enumerate(_blocks(), start=1):
        base = f"features.{k}.conv"
        layers = [] if k == 1 else [(f"{base}.0.0", f"{base}.0.1", (hidden, inputs, 1, 1))]
        n = len(layers)
        layers.append((f"{base}.{n}.0", f"{base}.{n}.1", (hidden, 1, 3, 3)))
        layers.append((f"{base}.{n + 1}", f"{base}.{n + 2}", (outputs, hidden, 1, 1)))
        for conv, norm, shape in layers:
            _conv(tensors, conv, norm, shape)
    _conv(tensors, "features.18.0", "features.18.1", (8, 320, 1, 1))
    tensors["classifier.1.weight"] = torch.randn(4, 8)
    tensors["classifier.1.bias"] = torch.randn(4)
    return tensors


def reference(t: Tensors, x: Tensor) -> dict[int, Tensor]:
    """MobileNetV2 spelt out, normalisation by normalisation, as torchvision computes it."""

    def layer(x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = t[f"{conv}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[2] // 2, groups=groups)
        parts = (t[f"{norm}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False)

    taps = {}
    wanted = {index: s for s, (index, _) in TAPS.items()}
    x = F.relu6(layer(x, "features.0.0", "features.0.1", 2))
    for k, (inputs, hidden, outputs, stride) in enumerate(_blocks()):
        base, y, n = f"features.{k + 1}.conv", x, 0
        if k:
            y, n = F.relu6(layer(y, f"{base}.0.0", f"{base}.0.1")), 1
        y = F.relu6(layer(y, f"{base}.{n}.0", f"{base}.{n}.1", stride, hidden))
        y = layer(y, f"{base}.{n + 1}", f"{base}.{n + 2}")
        x = x + y if stride == 1 and inputs == outputs else y
        if k in wanted:
            taps[wanted[k]] = x
    return taps


def test_folding_the_normalisation_changes_nothing(published: Tensors) -> None:
    encoder = MobileNetV2("symmetric", 0).eval()
    load_encoder(encoder, published, Path("published.pth"))
    grey = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        ours = encoder(grey)
        theirs = reference(published, grey.repeat(1, 3, 1, 1))
    for stride in (2, 4, 8, 16, 32):
        scale = float(theirs[stride].abs().max())
        assert float((ours[stride] - theirs[stride]).abs().max()) < 1e-4 * scale, stride


@pytest.fixture(scope="module")
def folded(published: Tensors) -> Tensors:
    """The layout of an .npz with folded convolutions in RGB, a classifier's head included."""
    encoder = MobileNetV2("tensorflow", 0)
    load_encoder(encoder, published, Path("published.pth"))
    tensors = {k.replace(".layers.", "."): v for k, v in encoder.state_dict().items()}
    tensors["stem.weight"] = torch.stack([tensors["stem.weight"][:, 0] / 3] * 3, 1)
    return {**tensors, "head.weight": torch.zeros(4, 320, 1, 1), "head.bias": torch.zeros(4)}


def _save(path: Path, tensors: Tensors) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in tensors.items()})
    elif path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def _encoder_of(path: Path) -> dict[str, Tensor]:
    engine = build_engine("compact", (1,), {"width": 16}, str(path))
    return dict(engine.encoder.state_dict())  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_folded_weights_arrive_in_every_tensor(
    tmp_path: Path, folded: Tensors, suffix: str
) -> None:
    path = _save(tmp_path / f"weights{suffix}", folded)
    ours = _encoder_of(path)
    for key, value in ours.items():
        theirs = folded[key.replace(".layers.", ".")]
        expected = theirs.sum(1, keepdim=True) if key == "stem.weight" else theirs
        assert torch.equal(value, expected), key


def test_the_layout_decides_the_padding_that_the_weights_were_trained_with(
    tmp_path: Path, folded: Tensors, published: Tensors
) -> None:
    for tensors, padding in ((folded, "tensorflow"), (published, "symmetric")):
        path = _save(tmp_path / f"{padding}.pth", tensors)
        engine = build_engine("compact", (1,), {"width": 16}, str(path))
        assert engine.options["padding"] == padding  # type: ignore[index]
        assert engine.options["frozen_blocks"] == 3  # type: ignore[index]
        assert not engine.encoder.stem.weight.requires_grad  # type: ignore[union-attr]


def test_an_encoder_without_weights_trains_its_first_blocks_too() -> None:
    engine = build_engine("compact", (1,), {"width": 16}, None)
    assert all(p.requires_grad for p in engine.parameters())


def _without(t: Tensors) -> Tensors:
    return {k: v for k, v in t.items() if k != "blocks.3.1.bias"}


def _more(t: Tensors) -> Tensors:
    return {**t, "blocks.17.0.weight": torch.zeros(1)}


def _another_shape(t: Tensors) -> Tensors:
    return {**t, "blocks.16.2.weight": torch.zeros(160, 960, 1, 1)}


def _nan(t: Tensors) -> Tensors:
    return {**t, "blocks.5.0.bias": torch.full_like(t["blocks.5.0.bias"], float("nan"))}


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_without, r"missing \['blocks.3.layers.1.bias'\]"),
        (_more, r"unexpected \['blocks.17.layers.0.weight'\]"),
        (_another_shape, r"'blocks.16.layers.2.weight' is \(160, 960, 1, 1\), expected \(320, 960"),
        (_nan, r"'blocks.5.layers.0.bias'.*finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_the_name_of_the_tensor(
    tmp_path: Path, folded: Tensors, spoil: object, named: str
) -> None:
    path = _save(tmp_path / "weights.safetensors", spoil(folded))  # type: ignore[operator]
    with pytest.raises(DataError, match=named) as caught:
        _encoder_of(path)
    assert caught.value.where == str(path)
    assert caught.value.remedy is not None


def test_torchvision_weights_with_a_hole_are_refused(tmp_path: Path, published: Tensors) -> None:
    tensors = {k: v for k, v in published.items() if k != "features.4.conv.1.1.running_var"}
    path = _save(tmp_path / "weights.pth", tensors)
    with pytest.raises(DataError, match=r"lack 'features\.4\.conv\.1\.1\.running_var'"):
        _encoder_of(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_truncated_weights_are_refused(tmp_path: Path, folded: Tensors, suffix: str) -> None:
    path = _save(tmp_path / f"weights{suffix}", folded)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"cannot be read.*Download or export them again"):
        _encoder_of(path)


def test_a_file_that_runs_code_when_unpickled_is_not_run(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    path = tmp_path / "weights.pth"
    torch.save({"stem.weight": Evil()}, path, pickle_module=pickle)
    with pytest.raises(DataError, match="cannot be read"):
        read_tensors(path)
    assert not (tmp_path / "ran").exists()


def test_a_whole_training_checkpoint_is_no_state_dict(tmp_path: Path, folded: Tensors) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": folded, "epoch": 3}, path)
    with pytest.raises(DataError, match=r"'state_dict' is no tensor.*state_dict by itself"):
        _encoder_of(path)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'imagenet'.*encoder_weights.*mobilenet_v2_imagenet"):
        resolve("imagenet")


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"unknown kind '\.h5'.*\.safetensors, \.npz, \.pth"):
        read_tensors(path)


def test_the_weights_that_lie_beside_the_project_load(shared: Path) -> None:
    path = shared / "weights" / "mobilenet_v2_imagenet_folded.npz"
    ours = _encoder_of(path)
    assert float(ours["stem.weight"].abs().max()) > 0
    assert torch.equal(ours["blocks.0.layers.0.weight"], read_tensors(path)["blocks.0.0.weight"])
