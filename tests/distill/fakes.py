"""An engine of two numbers that writes down what is done to it: distillation must run on it as on any other."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from organoseg.core import Instances, Mask
from organoseg.models.protocol import Target

SIDE = 32


def organoids(scores: Sequence[float], sides: Sequence[int] | None = None) -> Instances:
    """Squares along the diagonal of a 32 x 32 image, 10 px wide where nothing else is said."""
    sides = sides or [10] * len(scores)
    masks = [Mask(2 * i, 2 * i, np.ones((s, s), bool)) for i, s in enumerate(sides)]
    return Instances.from_masks((SIDE, SIDE), masks, scores=np.array(scores, np.float32))


class FakeEngine(nn.Module):
    """Satisfies the Segmenter protocol; ``log`` gets a line for every call."""

    max_instances = 10
    classes: tuple[int, ...] = (1,)

    def __init__(self, name: str, log: list[Any], weight: float = 0.0) -> None:
        super().__init__()
        self.name, self.log = name, log
        self.weight = nn.Parameter(torch.tensor([weight, 2 * weight]))
        self.register_buffer("mean", torch.tensor([weight]))
        self.register_buffer("batches", torch.tensor(round(weight)))
        self.seen: list[tuple[torch.Tensor, list[Target]]] = []
        self.scale = 1.0
        self.found: Callable[[], Instances] = lambda: organoids([0.9, 0.71, 0.7, 0.3])

    def losses(self, pixels: torch.Tensor, targets: Sequence[Target]) -> dict[str, torch.Tensor]:
        kind = "strong" if float(pixels.max()) >= 20 else "labelled"
        self.log.append(f"{self.name}.losses {kind} gradient={torch.is_grad_enabled()}")
        self.seen.append((pixels, list(targets)))
        # The gradient is known: 1 for the first number, 2 for the second, times the scale.
        a, b = self.scale * self.weight
        return {"a": a + 3.0, "b": 2 * b}

    def segment(self, pixels: torch.Tensor, score_threshold: float = 0.05) -> list[Instances]:
        kind = "weak" if float(pixels.max()) < 20 else "strong"
        self.log.append(
            f"{self.name}.segment {kind} gradient={torch.is_grad_enabled()} training={self.training}"
        )
        found = self.found().replace(shape=(pixels.shape[2], pixels.shape[3]))
        return [found.select(found.scores >= score_threshold) for _ in range(len(pixels))]

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": [self.weight], "lr": learning_rate, "weight_decay": weight_decay}]


class LoggedSGD(torch.optim.SGD):
    """Plain gradient descent that says when it steps."""

    def __init__(self, parameters: Any, log: list[Any], lr: float = 1.0) -> None:
        super().__init__(parameters, lr=lr)
        self.log = log

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        self.log.append("optimiser.step")
        return super().step(closure)
