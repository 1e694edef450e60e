"""The next image is read while the reviewer is busy with this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from organoseg.core import Image
from organoseg.review.pictures import Picture, Reader

#: Pictures held: the present one, the next, and the one before, to which people go back.
_KEPT = 3


class Ahead:
    """Reads pictures in one thread, in order, and keeps the last few."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="organoseg-review")
        self._coming: dict[str, Future[Image]] = {}

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

    def close(self) -> None:
        """Wait for the picture that is being read, drop those that are not."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()
