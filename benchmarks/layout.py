"""What channels-last memory and torch.compile do to a training step of Mask2Former, on the device at hand.

    python benchmarks/layout.py --out runs/layout --table docs/benchmarks.md

Each variant takes the same steps on the same synthetic crops; rounds go around the variants, so that whatever else the
machine does hits all of them. The figure of a variant is the median of its rounds over that of the plain one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tables import markdown, origin, run_program

NETWORKS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {
        "backbone": "mobilenet_v2", "hidden": 64, "heads": 4, "ffn": 256, "encoder_ffn": 256,
        "encoder_layers": 1, "decoder_layers": 3, "queries": 50, "points": 1024,
    },
    "resnet50": {"backbone": "resnet50", "queries": 100, "points": 4096},
}  # fmt: skip


class Variant:
    """A network in one memory layout, and its steps."""

    def __init__(self, name: str, options: dict[str, Any], device: Any, batch: Any) -> None:
        import torch

        from organoseg.models.precision import use_bf16
        from organoseg.models.registry import build_engine

        torch.manual_seed(0)
        options = {**options, "compile": name == "compiled"}
        module = build_engine("mask2former", (1,), options, None).to(device).train()
        order = torch.contiguous_format if name == "contiguous" else torch.channels_last
        self.module: Any = module.to(memory_format=order)  # type: ignore[call-overload]
        self.module.memory_format = order
        self.pixels, self.targets = batch
        self.device, self.half = device, use_bf16("auto", device)
        self.optimiser = torch.optim.AdamW(self.module.parameter_groups(1e-4, 0.05))
        self.seconds: list[float] = []

    def step(self) -> None:
        """Forward, backward and descent, waited for."""
        import torch

        start = perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss = torch.stack(list(self.module.losses(self.pixels, self.targets).values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(perf_counter() - start)


def crops(count: int, size: int, device: Any) -> Any:
    """Pixels (B, 1, S, S) and targets of synthetic images."""
    import torch

    from organoseg.core import normalised
    from organoseg.dataset.synthetic import SyntheticSpec, make_image
    from organoseg.models.protocol import Target

    items = [make_image((7, k), SyntheticSpec(size=size)) for k in range(count)]
    planes = [normalised(item.image.plane(), item.name) for item in items]
    pixels = torch.from_numpy(np.stack(planes)[:, None]).to(device)
    return pixels, [Target.labelled(item.instances) for item in items]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a step, by variant."""
    from organoseg.inference.api import choose_device

    device = choose_device(args.device)
    names = ["contiguous", "channels last"] + ["compiled"] * (device.type == "cuda")
    batch = crops(args.batch, args.crop, device)
    variants = {name: Variant(name, NETWORKS[args.network], device, batch) for name in names}
    for number in range(args.rounds + 2):
        for variant in variants.values():
            variant.step()
        if number == 1:  # the first two warm up and compile
            for variant in variants.values():
                variant.seconds.clear()
    found = {name: float(np.median(v.seconds)) for name, v in variants.items()}
    return {"seconds": found, "device": device.type, "network": args.network}


def table_of(result: dict[str, Any]) -> str:
    """A row a variant."""
    plain = result["seconds"]["contiguous"]
    rows = [[name, f"{1000 * s:.0f}", f"{s / plain:.2f}"] for name, s in result["seconds"].items()]
    heads = [f"{result['network']} on {result['device']}", "ms a step", "over contiguous"]
    return "\n".join([markdown(heads, rows), "", *origin(result)])


def main(arguments: list[str] | None = None) -> int:
    """Run it all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--network", choices=tuple(NETWORKS), default="mobilenet_v2")
    add("--crop", type=int, default=128)
    add("--batch", type=int, default=8)
    add("--rounds", type=int, default=30)
    add("--device", default="auto")
    given = list(sys.argv[1:] if arguments is None else arguments)
    return run_program("layout", given, parser, measure, table_of)


if __name__ == "__main__":
    sys.exit(main())
