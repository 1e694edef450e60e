"""The unlabelled crops of a run, made ahead of the network."""

from __future__ import annotations

from collections.abc import Callable

from organoseg.distill.copy_paste import donors_of
from organoseg.distill.pool import Pool
from organoseg.training import plan
from organoseg.training.ahead import Prefetch
from organoseg.training.feed import PooledFeed, Share, UnlabelledBatch
from organoseg.training.methods import FromArchive
from organoseg.training.setting import Setting
from organoseg.training.unlabelled import Feed


class Crops:
    """Unlabelled batches by number, from a pool or from the whole archive.

    Parameters
    ----------
    make
        Gives the feed; asked when the first batch is, and anew after a `drop`.
    last
        Number of batches that are ever asked for.
    """

    def __init__(self, setting: Setting, make: Callable[[], Feed], last: int) -> None:
        self._setting, self._make, self._last = setting, make, last
        self._maker: Feed | None = None
        self._ahead: Prefetch[UnlabelledBatch] | None = None
        self._waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds spent waiting for batches."""
        return self._waited + (self._ahead.waited if self._ahead else 0.0)

    def __call__(self, number: int) -> UnlabelledBatch:
        """The batch of a number: the same whatever was asked for before."""
        if self._ahead is None:
            self._maker = self._make()
            s = self._setting
            self._ahead = Prefetch(self._maker, s.workers, self._last, s.stopping)
        return self._ahead(number)

    def drop(self) -> None:
        """Stop making batches ahead: what they are made of changes, or the run ends."""
        self._waited = self.waited
        if self._ahead is not None and self._maker is not None:
            self._ahead.close()
            self._maker.close()
        self._ahead = self._maker = None


def feed_of(setting: Setting, method: FromArchive, pool: Pool | None) -> Feed:
    """Crops of a pool with what a teacher saw there, or of the archive for a teacher that labels every batch."""
    recipe, share = setting.recipe, Share(setting.crew.rank, setting.crew.size)
    size, geometry = method.archive_batch(recipe.training.batch), plan.geometry_of(recipe)
    strong, weak = plan.strong_of(method), plan.weak_of(recipe)
    if pool is None:
        return setting.source.feed(size, geometry, strong, weak, share)
    chosen = plan.filter_of(method, setting.state.facts.sharpness)
    donors = donors_of(setting.data.labelled) if method.copy_paste else ()
    return PooledFeed(
        setting.source, pool, chosen, size, recipe.seed, geometry, strong, donors,
        method.copy_paste, weak, share,
    )  # fmt: skip
