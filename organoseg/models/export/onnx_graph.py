"""The compact network as an ONNX graph, layer by layer.

torch's exporter would do the same: it asks for two packages more and takes most of a minute for a network of forty
layers. A test holds the graph against the network.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from organoseg.models.compact.encoder import TAPS, InvertedResidual, PaddedConv
from organoseg.models.compact.layout import LEVELS
from organoseg.models.compact.network import CompactNetwork, ConvNormAct
from organoseg.models.export.onnx_engine import INPUT, OUTPUTS
from organoseg.models.protocol import AbsentPart

#: Operators of this version; every onnxruntime since 1.15 (2023) has them.
OPSET, IR = 18, 8


def onnx_package() -> Any:
    """The package that makes ONNX files.

    Raises
    ------
    AbsentPart
        It is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise AbsentPart(
            "writing ONNX files needs the package onnx, which is not installed",
            remedy='Install it: pip install "organoseg[onnx]"',
        ) from error
    return onnx


class _Graph:
    """Nodes and constants; a method adds a layer to what is called ``x`` and gives the name of its result."""

    def __init__(self) -> None:
        self._onnx = onnx_package()
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        node = self._onnx.helper.make_node(
            kind, inputs, [name], name=f"{kind}:{name}", **attributes
        )
        self.nodes.append(node)
        return name

    def constant(self, name: str, value: Tensor | np.ndarray[Any, Any]) -> str:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        if name not in self.constants:
            self.constants[name] = self._onnx.numpy_helper.from_array(
                np.ascontiguousarray(array), name
            )
        return name

    def conv(self, layer: nn.Conv2d, x: str, name: str, key: str = "") -> str:
        top, left = (int(side) for side in layer.padding)
        behind = 1 if isinstance(layer, PaddedConv) and layer.behind_only else 0
        return self.weighted(
            layer.weight, layer.bias, x, name, key,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            group=layer.groups,
            pads=[top, left, top + behind, left + behind],
        )  # fmt: skip

    def weighted(
        self,
        weight: Tensor,
        bias: Tensor | None,
        x: str,
        name: str,
        key: str = "",
        **attributes: Any,
    ) -> str:
        """A convolution; layers of one ``key`` share their constants."""
        inputs = [x, self.constant(f"{key or name}.weight", weight)]
        if bias is not None:
            inputs.append(self.constant(f"{key or name}.bias", bias))
        return self.op("Conv", inputs, name, **attributes)

    def relu6(self, x: str) -> str:
        limits = [self.constant(f"limit.{v}", np.array(v, np.float32)) for v in (0, 6)]
        return self.op("Clip", [x, *limits], f"{x}.relu6")

    def twice(self, x: str, name: str) -> str:
        scales = self.constant("twice", np.array([1, 1, 2, 2], np.float32))
        return self.op(
            "Resize", [x, "", scales], name, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def conv_norm_act(self, layer: ConvNormAct, x: str, name: str, key: str = "") -> str:
        conv, norm, key = layer[0], cast(nn.GroupNorm, layer[1]), key or name
        x = self.conv(conv, x, f"{name}.conv", f"{key}.conv")  # type: ignore[arg-type]
        groups = norm.num_groups
        # Group normalisation is instance normalisation of the groups' channels in one row.
        shape = self.op("Shape", [x], f"{name}.shape")
        row = self.constant(f"row.{groups}", np.array([0, groups, -1], np.int64))
        flat = self.op("Reshape", [x, row], f"{name}.groups")
        ones = self.constant(f"ones.{groups}", np.ones(groups, np.float32))
        zeros = self.constant(f"zeros.{groups}", np.zeros(groups, np.float32))
        flat = self.op(
            "InstanceNormalization", [flat, ones, zeros], f"{name}.norm", epsilon=norm.eps
        )
        x = self.op("Reshape", [flat, shape], f"{name}.image")
        weight = self.constant(f"{key}.scale", norm.weight[:, None, None])
        bias = self.constant(f"{key}.shift", norm.bias[:, None, None])
        x = self.op("Mul", [x, weight], f"{name}.scaled")
        x = self.op("Add", [x, bias], f"{name}.shifted")
        return self.op("Relu", [x], f"{name}.relu")

    def block(self, block: InvertedResidual, x: str, name: str) -> str:
        y = x
        for number, layer in enumerate(block.layers):
            y = self.conv(layer, y, f"{name}.{number}")  # type: ignore[arg-type]
            if number < len(block.layers) - 1:
                y = self.relu6(y)
        return self.op("Add", [x, y], f"{name}.sum") if block.residual else y


def _encoder(graph: _Graph, network: CompactNetwork) -> dict[int, str]:
    wanted = {index: stride for stride, (index, _) in TAPS.items()}
    x = graph.relu6(graph.conv(network.encoder.stem, INPUT, "stem"))
    taps = {}
    for index, block in enumerate(network.encoder.blocks):
        x = graph.block(block, x, f"block{index}")  # type: ignore[arg-type]
        if index in wanted:
            taps[wanted[index]] = x
    return taps


def _add_network(graph: _Graph, network: CompactNetwork) -> None:
    """What `CompactNetwork.forward` does, and the controller at every location."""
    taps = _encoder(graph, network)
    merged = graph.conv(network.lateral["32"], taps[32], "lateral32")  # type: ignore[arg-type]
    pyramid = {32: merged}
    for s in (16, 8, 4):
        up = graph.twice(merged, f"up{s}")
        side = graph.conv(network.lateral[str(s)], taps[s], f"lateral{s}")  # type: ignore[arg-type]
        merged = pyramid[s] = graph.op("Add", [side, up], f"merged{s}")
    smooth = {
        s: graph.conv_norm_act(network.smooth[str(s)], p, f"smooth{s}")  # type: ignore[arg-type]
        for s, p in pyramid.items()
    }
    controller = network.controller
    for s in LEVELS:
        x = smooth[s]
        for number, layer in enumerate(network.head):
            name, key = f"head{number}.{s}", f"head{number}"  # one head for all levels
            x = graph.conv_norm_act(layer, x, name, key)  # type: ignore[arg-type]
        graph.conv(network.score, x, f"score{s}", "score")
        weight = controller.weight[:, :, None, None]
        graph.weighted(
            weight, controller.bias, x, f"controller{s}", "controller", kernel_shape=[1, 1]
        )
    squeezed = graph.conv_norm_act(network.squeeze, smooth[4], "squeeze")
    both = graph.op("Concat", [taps[2], graph.twice(squeezed, "coarse")], "both", axis=1)
    fine = graph.conv_norm_act(network.fine, both, "fine")
    for s, source, key in ((8, fine, "2"), (16, smooth[4], "4"), (32, smooth[8], "8")):
        graph.conv(network.masks[key], source, f"mask{s}")  # type: ignore[arg-type]


@torch.no_grad()
def network_proto(network: CompactNetwork) -> Any:
    """The network as an ``onnx.ModelProto``: batches of images (B, 1, H, W), H and W multiples of 32, to `OUTPUTS`.

    What is done at chosen locations alone (their own tiny networks, and everything after them) stays outside: how many
    there are follows from the image, and numpy does it in less time than the network takes for its first layers.

    Raises
    ------
    AbsentPart
        The package onnx is not installed.
    """
    onnx = onnx_package()
    graph = _Graph()
    _add_network(graph, network)
    value, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    made = onnx.helper.make_graph(
        graph.nodes,
        "compact",
        [value(INPUT, float32, ["batch", 1, "height", "width"])],
        [value(name, float32, ["batch", *(f"{name}.{d}" for d in "chw")]) for name in OUTPUTS],
        list(graph.constants.values()),
    )
    proto = onnx.helper.make_model(
        made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR,
        producer_name="organoseg",
    )  # fmt: skip
    onnx.checker.check_model(proto, full_check=True)
    return proto
