"""Weights of detectron2 come in whole or not at all, and predict what they predicted there."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from organoseg.cli.main import main
from organoseg.core import DataError, UsageError
from organoseg.models.folder import load_module, read_description
from organoseg.models.registry import build_engine
from tests.models.detectron2.networks import SMALL, small

pytestmark = pytest.mark.detectron2

#: A small relative of the zoo's Mask R-CNN, as a lab would write it: based on one of the zoo's own files.
CONFIG: dict[str, Any] = {
    "_BASE_": "../Base-RCNN-FPN.yaml",
    "MODEL": {
        "WEIGHTS": "detectron2://ImageNetPretrained/MSRA/R-50.pkl",
        "MASK_ON": True,
        "RESNETS": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64, "NORM": "FrozenBN"},
        "FPN": {"OUT_CHANNELS": 32},
        "ANCHOR_GENERATOR": {"SIZES": [[8], [16], [32], [64], [96]]},
        "ROI_BOX_HEAD": {"FC_DIM": 64},
        "ROI_MASK_HEAD": {"CONV_DIM": 32},
        "ROI_HEADS": {"NUM_CLASSES": 2, "NMS_THRESH_TEST": 0.4},
        "PIXEL_STD": [57.0, 57.0, 57.0],
    },
    "INPUT": {"MIN_SIZE_TEST": 160, "MAX_SIZE_TEST": 400, "MIN_SIZE_TRAIN": "(640, 800)"},
    "SOLVER": {"STEPS": "(210000, 250000)", "MAX_ITER": 270000},
    "TEST": {"DETECTIONS_PER_IMAGE": 50},
}


class Lab:
    """A folder with a configuration and a checkpoint that detectron2 itself has made."""

    def __init__(self, folder: Path, tree: dict[str, Any] = CONFIG) -> None:
        self.folder = folder
        self.config = folder / "mask_rcnn.yaml"
        self.config.write_text(yaml.safe_dump(tree))
        self.model = self.network(tree)
        state = self.model.state_dict()
        # Statistics and class scores that are not those of a fresh network.
        for key, value in state.items():
            if "running" in key or "cls_score.weight" in key:
                value.copy_(torch.rand_like(value) * 0.5 + 0.5 if "var" in key else value * 3)
        self.state: dict[str, Tensor] = {k: v.clone() for k, v in state.items()}

    @staticmethod
    def network(tree: dict[str, Any]) -> Any:
        """Built by detectron2 from the same settings, without a line of ours."""
        from detectron2.config import get_cfg
        from detectron2.modeling import build_model

        cfg = get_cfg()
        import detectron2

        zoo = Path(str(detectron2.__file__)).parent / "model_zoo" / "configs"
        zoo = zoo if zoo.is_dir() else Path(str(detectron2.__file__)).parents[1] / "configs"
        cfg.merge_from_file(str(zoo / "Base-RCNN-FPN.yaml"))
        cfg.merge_from_other_cfg(type(cfg)({k: v for k, v in tree.items() if k != "_BASE_"}))
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
        return build_model(cfg).eval()

    def pkl(self, **extra: Any) -> Path:
        """The zoo's format."""
        path = self.folder / "model_final_abc123.pkl"
        arrays = {k: v.numpy() for k, v in self.state.items()}
        tree = {"model": arrays | extra, "__author__": "Detectron2 Model Zoo"}
        path.write_bytes(pickle.dumps(tree, protocol=2))
        return path

    def pth(self) -> Path:
        """The trainer's format."""
        path = self.folder / "model_final.pth"
        facts = {"iteration": 9, "scheduler": {"last_epoch": 9, "base_lrs": [0.1]}}
        torch.save({"model": self.state, "optimizer": {"state": {}}, **facts}, path)
        return path

    def take(self, checkpoint: Path, *words: str) -> int:
        """The command; the model folder is ``out``."""
        command = ["model", "import", str(checkpoint), "--config", str(self.config)]
        return main([*command, "--out", str(self.out), "--classes", "organoid,debris", *words])

    @property
    def out(self) -> Path:
        """Where the model goes."""
        return self.folder / "out"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums of several threads may come in another order, and then in other last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["pkl", "pth"])
def test_conversion_changes_no_bit_of_a_prediction(lab: Lab, one_thread: None, kind: str) -> None:
    """Before: the network with the arrays of the file itself. After: with those of the safetensors."""
    from organoseg.models.detectron2.reading import read_weights
    from organoseg.models.detectron2.weights import put

    path = getattr(lab, kind)()
    assert lab.take(path) == 0
    after, description = load_module(lab.out)
    before = build_engine("detectron2", tuple(description.classes), description.options, None)
    put(before.network, read_weights(path), path, replace=False)  # type: ignore[attr-defined]
    pixels = torch.rand(1, 1, 80, 100) * 2 - 1
    (a,), (b,) = before.eval().segment(pixels, 0.0), after.segment(pixels, 0.0)
    assert len(a) > 5
    assert np.array_equal(a.scores, b.scores)
    assert np.array_equal(a.boxes, b.boxes)
    assert np.array_equal(a.classes, b.classes)
    assert np.array_equal(a.to_dense(), b.to_dense())


@pytest.mark.parametrize("kind", ["pkl", "pth"])
def test_predictions_are_detectron2s_own(lab: Lab, one_thread: None, kind: str) -> None:
    """Before: detectron2 loads its own file and predicts. After: the model folder does. All to 1e-5, boxes in px."""
    from detectron2.checkpoint import DetectionCheckpointer

    path = getattr(lab, kind)()
    DetectionCheckpointer(lab.model).load(str(path))
    assert lab.take(path) == 0
    module, description = load_module(lab.out)
    assert description.classes == {1: "organoid", 2: "debris"}
    pixels = torch.rand(1, 1, 80, 100) * 2 - 1
    images = module._images(pixels)
    assert images.image_sizes == [(160, 200)]  # INPUT.MIN_SIZE_TEST
    with torch.no_grad():
        enlarged = torch.nn.functional.interpolate(pixels, (160, 200), mode="bilinear")[0]
        bytes_ = ((enlarged + 1) * 127.5).expand(3, -1, -1)
        (before,) = lab.model.inference([{"image": bytes_}], do_postprocess=False)
        module.segment(pixels, 0.0)  # sets the threshold
        features = module.network.backbone(images.tensor)
        proposals, _ = module.network.proposal_generator(images, features, None)
        (after,), _ = module.network.roi_heads(images, features, proposals, None)
    n = len(before)
    assert n > 20
    assert len(after) >= n  # ours returns more than 50
    fields = ("scores", "pred_masks", "pred_classes")
    pairs = {f: (before.get(f), after.get(f)[:n]) for f in fields}
    pairs["boxes"] = before.pred_boxes.tensor, after.pred_boxes.tensor[:n]
    for name, pair in pairs.items():
        assert torch.allclose(*pair, atol=1e-5, rtol=0), name


def test_our_masks_are_detectron2s(lab: Lab) -> None:
    """To the end of the road: Instances of the model folder against detectron2's own output."""
    from detectron2.layers import paste_masks_in_image

    path = lab.pkl()
    assert lab.take(path) == 0
    module, _ = load_module(lab.out)
    lab.model.load_state_dict(lab.state)
    pixels = torch.rand(1, 1, 160, 160) * 2 - 1
    (ours,) = module.segment(pixels, 0.0)
    with torch.no_grad():
        image = ((pixels[0] + 1) * 127.5).expand(3, -1, -1)
        (theirs,) = lab.model.inference([{"image": image}], do_postprocess=False)
    dense = paste_masks_in_image(theirs.pred_masks[:, 0], theirs.pred_boxes, (160, 160), 0.5)
    large = dense.flatten(1).sum(1) >= 20
    expected = dense[large].numpy()
    assert len(expected) > 10
    masks = ours.to_dense()
    for score, mask in zip(theirs.scores[large].tolist(), expected, strict=True):
        near = np.flatnonzero(np.abs(ours.scores - score) < 1e-5)
        differing = [int((masks[k] ^ mask).sum()) for k in near]
        assert differing, score
        assert min(differing) <= 2  # pixels whose probability is a half to the last digit


def test_the_folder_says_where_it_comes_from_and_needs_nothing_of_it(lab: Lab) -> None:
    path = lab.pth()
    assert lab.take(path, "--score", "0.6", "--pixel-size", "1.3") == 0
    path.unlink()
    lab.config.unlink()
    description = read_description(lab.out)
    assert description.trained_with["imported_from"] == "model_final.pth"
    assert (description.score_threshold, description.pixel_size) == (0.6, 1.3)
    assert description.options["config"]["MODEL"]["RESNETS"]["DEPTH"] == 18
    assert "SOLVER" not in description.options["config"]
    assert "WEIGHTS" not in description.options["config"]["MODEL"]
    load_module(lab.out)


# -- hostile and damaged files ---------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.marker, "it ran")


def hostile_pkl(lab: Lab, marker: Path) -> Path:
    path = lab.folder / "bad.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": Bomb(marker)}, "__author__": "x"}, protocol=2))
    return path


def hostile_pth(lab: Lab, marker: Path) -> Path:
    path = lab.folder / "bad.pth"
    torch.save({"model": lab.state, "hook": Bomb(marker)}, path)
    return path


@pytest.mark.parametrize("make", [hostile_pkl, hostile_pth])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(
    lab: Lab, make: Callable[[Lab, Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    marker = lab.folder / "marker"
    path = make(lab, marker)
    assert lab.take(path) == 3
    words = capsys.readouterr().err
    assert "refused" in words
    assert "--trust-pickle" in words
    assert "may run any code" in words
    assert not marker.exists()
    assert not lab.out.exists()


def own_pth(lab: Lab) -> Path:
    path = lab.folder / "own.pth"
    torch.save({"model": lab.state, "args": Path("somewhere")}, path)
    return path


def own_pkl(lab: Lab) -> Path:
    """The zoo's format with a thing of the lab's own beside the arrays."""
    path = lab.folder / "own.pkl"
    arrays = {k: v.numpy() for k, v in lab.state.items()}
    tree = {"model": arrays, "args": Fraction(1, 2), "__author__": "us"}
    path.write_bytes(pickle.dumps(tree, protocol=2))
    return path


def own_tensors(lab: Lab) -> Path:
    """Tensors where the zoo has arrays."""
    path = lab.folder / "tensors.pkl"
    path.write_bytes(pickle.dumps({"model": lab.state}))
    return path


@pytest.mark.parametrize("make", [own_pth, own_pkl, own_tensors])
def test_who_trusts_a_pickle_says_so(
    lab: Lab, make: Callable[[Lab], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(lab)
    assert lab.take(path) == 3
    assert "--trust-pickle" in capsys.readouterr().err
    assert not lab.out.exists()
    assert lab.take(path, "--trust-pickle") == 0
    taken = load_module(lab.out)[0].network.state_dict()
    assert all(torch.equal(v, taken[k]) for k, v in lab.state.items() if k in taken)


@pytest.mark.parametrize("make", [hostile_pkl, hostile_pth])
def test_trust_runs_what_the_file_holds_and_still_takes_weights_only(
    lab: Lab, make: Callable[[Lab, Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """This is what the warning of the flag is about."""
    marker = lab.folder / "marker"
    path = make(lab, marker)
    code = lab.take(path, "--trust-pickle")
    assert marker.read_text() == "it ran"
    # The .pth has whole weights beside the bomb; in the .pkl the bomb stands where an array should.
    assert code == (0 if path.suffix == ".pth" else 3)
    assert lab.out.exists() == (code == 0)
    assert "Traceback" not in capsys.readouterr().err


def without(lab: Lab) -> Path:
    del lab.state["backbone.fpn_lateral3.bias"]
    return lab.pkl()


def with_more(lab: Lab) -> Path:
    return lab.pkl(surplus=np.zeros(3, np.float32))


def of_other_classes(lab: Lab) -> Path:
    lab.state["roi_heads.box_predictor.cls_score.bias"] = torch.zeros(81)
    return lab.pkl()


def not_finite(lab: Lab) -> Path:
    lab.state["backbone.fpn_lateral3.bias"][0] = torch.nan
    return lab.pkl()


def truncated(lab: Lab) -> Path:
    path = lab.pkl()
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def truncated_pth(lab: Lab) -> Path:
    path = lab.pth()
    path.write_bytes(path.read_bytes()[:20_000])
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (without, "1 missing ['backbone.fpn_lateral3.bias'], 0 unexpected"),
        (with_more, "0 missing [], 1 unexpected ['surplus']"),
        (of_other_classes, "'roi_heads.box_predictor.cls_score.bias': (81,), expected (3,)"),
        (not_finite, "not finite"),
        (truncated, "error"),
        (truncated_pth, "error"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_an_error_that_names_it(
    lab: Lab, make: Callable[[Lab], Path], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(lab)
    assert lab.take(path) == 3
    said = capsys.readouterr().err
    assert words in said
    assert str(path) in said
    assert not lab.out.exists()


# -- configurations --------------------------------------------------------------------------------


def rewritten(lab: Lab, **model: Any) -> None:
    tree = {**CONFIG, "MODEL": {**CONFIG["MODEL"], **model}}
    lab.config.write_text(yaml.safe_dump(tree))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"META_ARCHITECTURE": "RetinaNet"}, "MODEL.META_ARCHITECTURE is 'RetinaNet'"),
        ({"MASK_ON": False}, "MODEL.MASK_ON is False"),
        ({"KEYPOINT_ON": True}, "MODEL.KEYPOINT_ON is True"),
        ({"SWIN": {"DEPTH": 3}}, "SWIN"),
        ({"RESNETS": {"DEPTH": "deep"}}, "DEPTH"),
        ({"RESNETS": {"DEPTH": 51}}, "51"),
    ],
)
def test_another_kind_of_network_is_refused_by_what_makes_it_so(
    lab: Lab, model: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(lab, **model)
    assert lab.take(lab.pkl()) == 2
    assert words in capsys.readouterr().err
    assert not lab.out.exists()


def test_a_base_outside_the_folder_is_not_opened(
    lab: Lab, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.yaml"
    elsewhere.write_text("MODEL: {}")
    lab.config.write_text(yaml.safe_dump({**CONFIG, "_BASE_": str(elsewhere)}))
    assert lab.take(lab.pkl()) == 2
    words = capsys.readouterr().err
    assert "lies neither in" in words
    assert "--config-root" in words
    # Unless the user says that it may be.
    zoo = {"_BASE_": "../Base-RCNN-FPN.yaml", "MODEL": CONFIG["MODEL"], "INPUT": CONFIG["INPUT"]}
    elsewhere.write_text(yaml.safe_dump(zoo))
    assert lab.take(lab.pkl(), "--config-root", str(elsewhere.parent)) == 0


def test_a_base_that_is_its_own_base_ends(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.config.write_text(yaml.safe_dump({**CONFIG, "_BASE_": lab.config.name}))
    assert lab.take(lab.pkl()) == 3
    assert "round in circles" in capsys.readouterr().err


def test_python_is_never_read(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    marker = lab.folder / "marker"
    lazy = lab.folder / "config.py"
    lazy.write_text(f"open({str(marker)!r}, 'w')")
    lab.config = lazy
    assert lab.take(lab.pkl()) == 2
    assert "never run" in capsys.readouterr().err
    lab.config = lab.folder / "objects.yaml"
    lab.config.write_text(f"MODEL: !!python/object/apply:pathlib.Path.touch [{marker}]")
    assert lab.take(lab.pkl()) == 3
    assert not marker.exists()


def test_classes_are_named_all_or_none(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert lab.take(lab.pkl(), "--classes", "organoid") == 2
    assert "has 2 classes, and 1 were named" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(lab: Lab) -> None:
    lab.out.mkdir()
    (lab.out / "notes.txt").write_text("mine")
    assert lab.take(lab.pkl()) == 2
    assert [p.name for p in lab.out.iterdir()] == ["notes.txt"]


# -- pre-trained weights of a recipe ---------------------------------------------------------------


def test_a_start_of_other_classes_replaces_the_heads_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    three = small(classes=(1, 2, 3))
    path = tmp_path / "three.pth"
    state = three.network.state_dict()
    torch.save({"model": state}, path)
    one = small(start=str(path))
    assert "trained for other classes" in caplog.text
    assert "roi_heads.box_predictor.cls_score" in caplog.text
    assert "roi_heads.mask_head.predictor" in caplog.text
    taken = one.network.state_dict()
    kept = [k for k, v in state.items() if v.shape == taken[k].shape]
    assert len(kept) > 100
    assert all(torch.equal(state[k], taken[k]) for k in kept)
    assert one.options["start"] is None  # the folder's own weights say it all


def test_a_published_name_is_checked_and_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from organoseg.models.detectron2 import zoo

    monkeypatch.setenv("ORGANOSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ORGANOSEG_OFFLINE", "1")
    name, architecture = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", "mask_rcnn_R_50_FPN"
    where = "model.options.start"
    with pytest.raises(DataError, match=r"ORGANOSEG_OFFLINE forbids.*model_final_f10217\.pkl"):
        zoo.resolve(name, architecture, where)
    target = tmp_path / "cache" / "weights" / "detectron2" / zoo.MODELS[name].place
    published = pickle.dumps({"model": {"a": np.ones(3, np.float32)}, "__author__": "x"}, 2)
    target.write_bytes(published)
    with pytest.raises(DataError, match=r"not the published one.*md5:f10217"):
        zoo.resolve(name, architecture, where)
    digits = hashlib.md5(published, usedforsecurity=False).hexdigest()[:6]
    ours = zoo.Entry(f"COCO/model_final_{digits}.pkl", architecture)
    monkeypatch.setitem(zoo.MODELS, name, ours)
    target = tmp_path / "cache" / "weights" / "detectron2" / ours.place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(published)
    first = zoo.resolve(f"detectron2://{name}.pkl", architecture, where)
    assert first.suffix == ".safetensors"
    assert not target.exists()
    assert zoo.resolve(name, architecture, where) == first


def test_names_nobody_knows_and_weights_of_another_network_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"no detectron2 weights named 'coco'.*mask_rcnn_R_50_FPN_3x"
    ):
        small(start="coco")
    with pytest.raises(UsageError, match=r"is for mask_rcnn_R_101_FPN, not for mask_rcnn_R_18_FPN"):
        small(start="COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x")
    with pytest.raises(UsageError, match=r"weights of MobileNetV2.*encoder_weights: null"):
        build_engine("detectron2", (1,), {}, "mobilenet_v2_imagenet")


def test_compacts_encoder_brings_its_weights_and_their_padding(shared: Path) -> None:
    from organoseg.models.compact.encoder import PaddedConv

    path = shared / "weights" / "mobilenet_v2_imagenet_folded.npz"
    options = {**SMALL, "architecture": "mask_rcnn_mobilenet_v2_FPN"}
    engine = build_engine("detectron2", (1,), options, str(path))
    encoder = engine.network.backbone.bottom_up.encoder
    with np.load(path) as published:
        stem = published["stem.weight"]
    stem = stem.sum(1, keepdims=True) if stem.shape[1] == 3 else stem
    assert np.allclose(encoder.stem.weight.detach().numpy(), stem)
    assert engine.options["padding"] == "tensorflow"
    strided = [m for m in encoder.modules() if isinstance(m, PaddedConv) and m.stride == (2, 2)]
    assert strided
    assert all(m.behind_only for m in strided)
    assert not encoder.stem.weight.requires_grad
    assert np.isfinite(engine.segment(torch.randn(1, 1, 64, 64), 0.0)[0].scores).all()


def test_an_imagenet_backbone_of_caffe2_goes_where_it_belongs(tmp_path: Path) -> None:
    """The names of the original ResNets, written down by hand."""
    options = {**SMALL, "architecture": "mask_rcnn_R_50_FPN", "norm": "FrozenBN"}
    random = build_engine("detectron2", (1,), options, None)
    ours = random.network.backbone.bottom_up.state_dict()
    arrays: dict[str, np.ndarray] = {"fc1000_w": np.zeros(3, np.float32)}
    for key, value in ours.items():
        arrays[caffe2(key)] = torch.randn_like(value).abs().numpy() + 1
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol=2))
    engine = build_engine("detectron2", (1,), options, str(path))
    taken = engine.network.backbone.bottom_up.state_dict()
    for key, value in taken.items():
        assert np.array_equal(value.numpy(), arrays[caffe2(key)]), key


def test_a_caffe2_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    """Old ImageNet files have their arrays at the top, or under ``blobs``, without an author."""
    marker, path = tmp_path / "marker", tmp_path / "R-50.pkl"
    for tree in (
        {"conv1_w": Bomb(marker)},
        {"blobs": {"conv1_w": np.ones(3), "hook": Bomb(marker)}},
    ):
        path.write_bytes(pickle.dumps(tree, protocol=2))
        with pytest.raises(DataError, match="refused"):
            build_engine(
                "detectron2", (1,), {**SMALL, "architecture": "mask_rcnn_R_50_FPN"}, str(path)
            )
    assert not marker.exists()


def caffe2(key: str) -> str:
    """``res2.0.conv1.norm.weight`` to ``res2_0_branch2a_bn_s``."""
    parts = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    norm = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    *place, last = key.removeprefix("stem.").split(".")
    if place[-1] == "norm":
        place, last = place[:-1], f"bn_{norm[last]}"
    else:
        last = "w"
    if place == ["conv1"]:
        return f"conv1_{last}" if last == "w" else f"res_conv1_{last}"
    stage, block, conv = place
    return f"{stage}_{block}_{parts[conv]}_{last}"
