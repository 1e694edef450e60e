"""What a run costs: seconds of a step by stage, crops a second, waiting, memory, and how busy the GPU is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

#: First steps of a stage, which compile kernels and fill caches, are not counted.
WARM_UP = 5


class Meter:
    """Collects the seconds of steps and says what they amount to."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, list[float]] = {}
        self._waited: dict[str, list[float]] = {}
        self._crops: dict[str, int] = {}
        self._busy: list[int] = []
        self._asks = device.type == "cuda"
        if self._asks:
            torch.cuda.reset_peak_memory_stats(device)

    def step(self, phase: str, seconds: float, waited: float, crops: int) -> None:
        """One step of ``crops`` crops took ``seconds``, of which batches were waited for ``waited``."""
        self._seconds.setdefault(phase, []).append(seconds)
        self._waited.setdefault(phase, []).append(waited)
        self._crops[phase] = crops

    def now(self) -> dict[str, float]:
        """Figures of the last steps, for the journal."""
        found: dict[str, float] = {}
        for phase, seconds in self._seconds.items():
            last = seconds[-10:]
            found = {"images_per_second": self._crops[phase] * len(last) / max(sum(last), 1e-9)}
            found["waiting_share"] = sum(self._waited[phase][-10:]) / max(sum(last), 1e-9)
        if self._device.type == "cuda":
            found["gpu_memory_gb"] = torch.cuda.max_memory_allocated(self._device) / 1e9
            busy = self._utilisation()
            if busy is not None:
                found["gpu_busy"] = busy / 100
        return found

    def _utilisation(self) -> int | None:
        """Percent of the last moment in which the GPU computed; None where the driver does not tell."""
        if not self._asks:
            return None
        try:
            busy = torch.cuda.utilization(self._device)
        except Exception:  # noqa: BLE001 - nvidia-ml-py is absent, or has its own error for a driver that is silent
            self._asks = False
            return None
        self._busy.append(busy)
        return busy

    def summary(self) -> dict[str, Any]:
        """Figures of the whole run: medians of a step's seconds by stage, and what a guided one costs."""
        counted = {k: v[WARM_UP:] or v for k, v in self._seconds.items()}
        step = {k: round(float(np.median(v)), 6) for k, v in counted.items()}
        total, waited = (
            sum(sum(v) for v in part.values()) for part in (self._seconds, self._waited)
        )
        found: dict[str, Any] = {
            "step_seconds": step,
            "images_per_second": {
                k: round(self._crops[k] / max(s, 1e-9), 3) for k, s in step.items()
            },
            "waiting_share_of_steps": waited / max(total, 1e-9),
        }
        alone = step.get("teacher") or step.get("refine")
        if alone:
            guided = {k: step[k] / alone for k in ("burn_in", "mutual") if k in step}
            if guided:
                found["cost_of_guidance"] = guided
        if self._device.type == "cuda":
            found["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated(self._device) / 1e9, 3)
            if self._busy:
                found["gpu_busy"] = round(float(np.mean(self._busy)) / 100, 3)
        return found
