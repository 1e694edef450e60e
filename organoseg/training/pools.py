"""Parts of the archive that a teacher has labelled, kept in the run folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from organoseg.core import Instances
from organoseg.distill.labeller import Labeller
from organoseg.distill.pool import (
    Pool,
    label_pool,
    labelled_density,
    load_pool,
    matching_sharpness,
    save_pool,
)
from organoseg.training import plan
from organoseg.training.methods import FromArchive
from organoseg.training.setting import Setting

#: Bounds of the calibrated sharpness: counting alone must not call everything certain, or nothing.
SHARPNESS = (1.0, 6.0)
FOLDER = "pseudo_labels"


class Pools:
    """Labels a part of the archive, writes it as COCO, and reads it back where a run goes on."""

    def __init__(self, setting: Setting, method: FromArchive) -> None:
        self._setting, self.method = setting, method
        full = method.teacher_precision == "fp32"
        # What a pool is labelled in; batches are always labelled as the paper does, in fp32.
        self._autocast: Callable[[], Any] = nullcontext if full else setting.autocast

    def label(self, name: str, part: int, teacher: nn.Module) -> Pool:
        """Label the ``part``-th draw of the archive, keep it under a name, and make it the pool in use."""
        pool = self.see(part, teacher)
        self.keep(name, pool)
        self._calibrate(pool)
        method, facts = self.method, self._setting.state.facts
        sharpness = facts.sharpness or method.sharpness
        drawn = labelled_density(self._setting.data.labelled)
        self._setting.note(
            f"{len(pool)} archive images labelled from {len(method.pool_zooms)} views; "
            f"{pool.density(sharpness) * 1e6:.0f} organoids a megapixel expected (sharpness {sharpness:.2f}), "
            f"people drew {drawn * 1e6:.0f}"
        )
        return pool

    def see(self, part: int, teacher: nn.Module) -> Pool:
        """What a teacher sees in the ``part``-th draw of the archive; all processes together, all get all of it."""
        s = self._setting
        was_training = teacher.training
        teacher.eval()
        indices = s.source.draw(self.method.pool, part)
        n = len(indices)
        mine = label_pool(
            Labeller(plan.filter_of(self.method, None), self.method.pool_zooms),
            teacher,  # type: ignore[arg-type]
            s.source,
            indices[n * s.crew.rank // s.crew.size : n * (s.crew.rank + 1) // s.crew.size],
            s.state.device,
            self._autocast,
            s.progress,
        )
        teacher.train(was_training)
        rows: list[tuple[int, Instances, str]] = s.crew.gather(
            list(zip(mine.indices, mine.instances, mine.names, strict=True))
        )
        return Pool(*(tuple(part) for part in zip(*rows, strict=True)))

    def keep(self, name: str, pool: Pool) -> None:
        """Write a pool and make it the one in use."""
        if self._setting.crew.main:
            save_pool(pool, self._path(name))
        self._setting.crew.wait()
        self._setting.state.facts.pool = name

    def _calibrate(self, pool: Pool) -> None:
        """The first teacher's scores are read as the recipe says, later ones so that the count stays."""
        facts, method = self._setting.state.facts, self.method
        if facts.expected is None:
            facts.expected = pool.density(method.sharpness)
        elif method.calibrate and method.filter == "organoid":
            facts.sharpness = matching_sharpness(pool, facts.expected, *SHARPNESS)

    def current(self) -> Pool | None:
        """The pool in use; None where every batch is labelled by itself."""
        name = self._setting.state.facts.pool
        return self.load(name) if name else None

    def load(self, name: str) -> Pool:
        """A pool by its name. DataError where its file is missing or damaged."""
        return load_pool(self._path(name))

    def _path(self, name: str) -> Path:
        return self._setting.out / FOLDER / f"{name}.json"
