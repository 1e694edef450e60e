"""The next image is read while the reviewer is busy with this one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from organoseg.core import Image
from organoseg.review.pictures import Picture, Reader
from organoseg.review.state import ImageState

#: Pictures held: the present one, the next, and the one before, to which people go back.
_KEPT = 3


class Ahead:
    """Reads pictures in one thread, in order, and keeps the last few."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="organoseg-review")
        self._coming: dict[str, Future[Image]] = {}
        self._states: dict[str, Future[ImageState]] = {}

    def begin(self, picture: Picture) -> None:
        """Start to read a picture, if that was not begun yet."""
        if picture.key not in self._coming:
            self._coming[picture.key] = self._pool.submit(self._reader.read, picture)

    def take(self, picture: Picture) -> Image:
        """The picture; what it raises is raised here, and the next call tries again."""
        self.begin(picture)
        future = self._coming.pop(picture.key)
        self._coming[picture.key] = future  # now the youngest
        for key in list(self._coming)[:-_KEPT]:
            self._coming.pop(key).cancel()
        try:
            return future.result()
        except BaseException:
            self._coming.pop(picture.key, None)
            raise

    def prepare(self, key: str, make: Callable[[str], ImageState]) -> None:
        """Make an image's first state after the pictures that were begun."""
        self._states = {key: self._pool.submit(make, key)}

    def prepared(self, key: str) -> ImageState | None:
        """The state that was prepared, once; None when it was not, or making it failed."""
        future = self._states.pop(key, None)
        if future is None or future.cancel() or future.exception() is not None:
            return None
        return future.result()

    def close(self) -> None:
        """Wait for the picture that is being read, drop those that are not."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()
