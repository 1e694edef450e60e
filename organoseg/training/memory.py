"""How many crops the memory of a GPU holds at once, measured and not guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from organoseg.core import RunError
from organoseg.models.protocol import Target

#: Share of the free memory that is planned with: allocators fragment, and crowded crops take more than others.
SAFE = 0.85
#: Bytes that AdamW keeps of each trained number, and the gradient.
ADAM, GRADIENT = 8, 4


@dataclass(frozen=True)
class Need:
    """Bytes that a step takes: ``fixed`` whatever the batch, and ``crop`` more for every crop of each branch."""

    fixed: int
    crop: int

    @staticmethod
    def of(one: int, two: int, fixed: int) -> Need:
        """From the peaks of a step of one crop and of two, of which ``fixed`` comes with optimiser and gradients."""
        crop = max(two - one, 1)
        return Need(max(one - crop, 0) + fixed, crop)

    def parts(self, batch: int, free: int) -> int:
        """In how many parts a batch has to be computed.

        Raises
        ------
        RunError
            Not one crop fits.
        """
        fits = int((free * SAFE - self.fixed) // self.crop)
        if fits < 1:
            raise RunError(
                f"a step of one crop takes {(self.fixed + self.crop) / 1e9:.1f} GB, and the GPU has "
                f"{free / 1e9:.1f} GB free",
                where="recipe, training",
                remedy="Set training.checkpointing to true, or take a smaller training.augmentation.crop or a "
                "smaller backbone.",
            )
        return -(-batch // min(fits, batch))


def measured(
    student: nn.Module,
    crops: Callable[[int], tuple[torch.Tensor, Sequence[Target]]],
    autocast: Callable[[], Any],
    device: torch.device,
) -> Need:
    """The need of a student on a GPU, from a step of one crop and one of two; nothing of the student changes.

    ``crops`` gives so many crops with targets, on the device.
    """
    trained = sum(p.numel() for p in student.parameters() if p.requires_grad)
    buffers = {k: v.clone() for k, v in student.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[device]):
            one, two = (_peak(student, *crops(n), autocast, device) for n in (1, 2))
    finally:
        for name, value in student.named_buffers():
            value.copy_(buffers[name])
    return Need.of(one, two, trained * (ADAM + GRADIENT))


def _peak(
    student: nn.Module,
    pixels: torch.Tensor,
    targets: Sequence[Target],
    autocast: Callable[[], Any],
    device: torch.device,
) -> int:
    """Bytes that forward and backward add to what is held already, gradients apart."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    try:
        with autocast():
            terms = student.losses(pixels, targets)  # type: ignore[operator]
            loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    finally:
        for p in student.parameters():
            p.grad = None


def free_bytes(device: torch.device) -> int:
    """What a GPU still has for this process: free, or held by torch and not in use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def parts_of(
    wanted: int | str,
    batches: Sequence[int],
    device: torch.device,
    need: Callable[[], Need],
    free: Callable[[], int],
) -> tuple[int, str | None]:
    """In how many parts a step is computed, and a sentence about it where it was measured.

    ``batches``: crops of each branch that one process sees in a step; their graphs are held together.
    """
    if wanted != "auto":
        return int(wanted), None
    if device.type != "cuda":
        return 1, None
    there = free()
    try:
        asked = need()
    except torch.OutOfMemoryError:
        # Not even two crops: one at a time is tried, and the step itself says what would help if that fails.
        return max(batches), "the GPU does not hold two crops at once: they are computed one by one"
    parts = min(asked.parts(sum(batches), there), max(batches))
    return parts, (
        f"a crop takes {asked.crop / 1e9:.2f} GB of the GPU's {there / 1e9:.1f} GB: a step of "
        f"{sum(batches)} crops is computed in {parts} parts"
    )
