"""Items in, finished pictures out: reading, the network and writing go on at the same time.

Whatever is done is done whole: a picture's organoids are written last, after all its other files, and the item's record
after all its pictures. A run that is killed at any moment and begun again does only what is missing.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import Full, Queue

from organoseg.core import DataError, Instances, OrganosegError, RunError, write_bytes, write_json
from organoseg.inference.api import Model, load_model
from organoseg.inference.frames import Frame, frames
from organoseg.inference.image import Look
from organoseg.inference.items import Failure, Item
from organoseg.inference.progress import Tell, silent
from organoseg.inference.records import (
    facts_path,
    forget,
    left_of,
    part_path,
    read_record,
    thumbnail_path,
    write_record,
)
from organoseg.inference.result import Result
from organoseg.inference.settings import PredictSettings
from organoseg.inference.writers import Writer, facts_of, parse_writers, thumbnail
from organoseg.io import read_instances, write_instances
from organoseg.models.export.onnx_file import is_onnx

#: Threads that read and that write; pictures that wait for the network and for the disk.
READERS, WRITERS, AHEAD, BEHIND = 2, 4, 4, 8
#: Bytes of pictures on their way, so that memory does not follow their size; one more than fits is let in alone.
ON_THE_WAY = 512 << 20


@dataclass(frozen=True)
class Work:
    """What all processes of a run share; travels as a pickle. ``write``: names as `parse_writers` knows them."""

    model: Path
    out: Path
    settings: PredictSettings
    write: tuple[str, ...]
    device: str | None = None
    precision: str = "auto"
    threads: int | None = None

    def __call__(self, items: Sequence[Item]) -> list[Failure]:
        """Do some items; what fails is returned, what is done lies in ``out``."""
        return segment_items(items, self)


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A picture that was read, with its organoids where an earlier run has found them."""

    item: Item
    frame: Frame
    known: Instances | None


@dataclass(eq=False)
class _Progress:
    """An item on its way: its pictures, what failed, and what is still being written."""

    item: Item
    keys: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    writing: list[Future[None]] = field(default_factory=list)
    skipped: bool = False
    waiting: int = 0

    @property
    def written(self) -> bool:
        """Nothing of it waits for the network or is on its way to the disk any more."""
        return not self.waiting and all(writing.done() for writing in self.writing)


@lru_cache(maxsize=1)
def model_of(work: Work) -> Model:
    """The run's model, loaded once a process. Errors as `load_model`."""
    if work.threads is not None:
        if is_onnx(work.model):
            os.environ["OMP_NUM_THREADS"] = str(work.threads)  # what the session asks for
        else:
            import torch

            torch.set_num_threads(work.threads)
    how = work.settings
    return load_model(work.model, work.device, work.precision, how.thorough, how.raw_masks)


def segment_items(items: Sequence[Item], work: Work, tell: Tell = silent) -> list[Failure]:
    """Segment items into ``work.out``; returns what failed, in the order of the items.

    ``tell`` hears ``item`` with ``done``, ``items`` and ``failed`` after each.

    Raises
    ------
    RunError
        The disk does not take the results. What was done is kept.
    """
    return _Pipeline(items, work, tell).run()


class _Scales:
    """Lets pictures in as long as all that are on their way are not too large together."""

    def __init__(self, most: int) -> None:
        self._most, self._on, self._changed = most, 0, threading.Condition()

    def let_in(self, size: int, stop: threading.Event) -> None:
        """Wait until there is room for ``size`` bytes, nothing else is under way, or the run stops."""
        with self._changed:
            while self._on and self._on + size > self._most and not stop.is_set():
                self._changed.wait(0.1)
            self._on += size

    def let_out(self, size: int) -> None:
        """They are done."""
        with self._changed:
            self._on -= size
            self._changed.notify_all()


def _weight(frame: Frame) -> int:
    """Bytes of a picture and of what network and writers make of it: its grey values as float32, twice."""
    return frame.image.pixels.nbytes + 8 * frame.image.pixels.size


class _Pipeline:
    def __init__(self, items: Sequence[Item], work: Work, tell: Tell) -> None:
        self.items, self.work, self.tell = items, work, tell
        self.writers = parse_writers(work.write)
        self.with_thumbnails = "report" in work.write or "all" in work.write
        self._source = iter(items)
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._read: Queue[_Loaded | _Progress | BaseException] = Queue(AHEAD)
        self._room, self._scales = threading.Semaphore(BEHIND), _Scales(ON_THE_WAY)
        self._progress: dict[str, _Progress] = {}
        self._waiting: list[_Loaded] = []
        self._ended = self._failed = 0
        self._recording: deque[Future[None]] = deque()

    def run(self) -> list[Failure]:
        """All items, to their end."""
        readers = [threading.Thread(target=self._reader, daemon=True) for _ in range(READERS)]
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="organoseg-write") as pool:
            for thread in readers:
                thread.start()
            try:
                ended: deque[_Progress] = deque()
                for loaded in self._incoming(pool):
                    if isinstance(loaded, _Loaded):
                        self._take(loaded, pool)
                    else:
                        ended.append(loaded)
                    # Items whose files are still being written are not waited for: the network goes on.
                    while ended and ended[0].written:
                        self._finish(ended.popleft(), pool)
                self._look(pool)
                for progress in ended:
                    self._finish(progress, pool)
                for recording in self._recording:
                    recording.result()
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                for thread in readers:
                    thread.join()
        return [f for item in self.items for f in self._progress[item.name].failures]

    # -- reading -----------------------------------------------------------------------------

    def _incoming(self, pool: ThreadPoolExecutor) -> Iterator[_Loaded | _Progress]:
        left = len(self.items)
        while left:
            if self._read.empty():
                # Nothing more to look at together for now; and who waits for room must not wait for these.
                self._look(pool)
            found = self._read.get()
            if isinstance(found, BaseException):
                raise found
            left -= isinstance(found, _Progress)
            yield found

    def _reader(self) -> None:
        """Read items, each by one thread, until none is left or the run stops."""
        try:
            while not self._stop.is_set():
                with self._lock:
                    item = next(self._source, None)
                if item is None:
                    return
                progress = self._progress[item.name] = _Progress(item)
                self._open(item, progress)
                self._put(progress)
        except OSError as error:
            self._put(_disk_error(error, self.work.out))
        except BaseException as error:  # noqa: BLE001 (the main thread must hear of it, whatever it is)
            self._put(error)

    def _open(self, item: Item, progress: _Progress) -> None:
        todo = left_of(self.work.out, item, self._whole)
        if todo.done:
            record = read_record(self.work.out, item)
            progress.keys, progress.skipped = list(record.keys or ()) if record else [], True
            return
        anew = todo.anew
        if anew:
            # First, or a run that is killed now would take them for results of the new source.
            forget(self.work.out, item)
            write_record(self.work.out, item, None)

        def wanted(key: str) -> bool:
            if key not in progress.keys:
                progress.keys.append(key)
            return todo.wanted(key)

        try:
            for frame in frames(item, self.work.settings, progress.failures.append, wanted):
                known = None if anew else self._known(frame)
                self._scales.let_in(_weight(frame), self._stop)
                if not self._put(_Loaded(item, frame, known)):
                    return
        # Codecs have errors of every kind; whatever they are, they cost this file and no other.
        except Exception as error:  # noqa: BLE001
            progress.failures.append(Failure(item.where, f"{type(error).__name__}: {error}"))

    def _whole(self, key: str) -> bool:
        """Whether everything that was asked for lies there."""
        out = self.work.out
        asked = [part_path(out, key), facts_path(out, key)]
        asked += [writer.path(out, key) for writer in self.writers]
        if self.with_thumbnails:
            asked.append(thumbnail_path(out, key))
        return all(path.exists() for path in asked)

    def _known(self, frame: Frame) -> Instances | None:
        try:
            found = read_instances(part_path(self.work.out, frame.key))[frame.key]
        except (DataError, KeyError):
            return None
        return found if found.shape == frame.image.shape else None

    def _put(self, found: _Loaded | _Progress | BaseException) -> bool:
        while not self._stop.is_set():
            try:
                self._read.put(found, timeout=0.1)
            except Full:
                continue
            return True
        return False

    # -- network and writing -----------------------------------------------------------------

    def _take(self, loaded: _Loaded, pool: ThreadPoolExecutor) -> None:
        """Look at a picture as soon as there are enough of its size, or none to wait for."""
        if loaded.known is not None:
            self._answer(loaded, loaded.known, (), pool)
            return
        shape = loaded.frame.image.shape
        if any(other.frame.image.shape != shape for other in self._waiting):
            self._look(pool)
        self._waiting.append(loaded)
        self._progress[loaded.item.name].waiting += 1
        if len(self._waiting) >= self.work.settings.batch:
            self._look(pool)

    def _look(self, pool: ThreadPoolExecutor) -> None:
        """The network's answers to the pictures that wait for it."""
        some, self._waiting = self._waiting, []
        if not some:
            return
        settings, model = self.work.settings, model_of(self.work)
        look = Look(settings.tile or Look.tile, settings.overlap, settings.batch)
        for loaded in some:
            self._progress[loaded.item.name].waiting -= 1
        try:
            images = [loaded.frame.image for loaded in some]
            answers = model.look_at_all(images, settings.score_threshold, look)
        # RuntimeError is torch's want of memory.
        except (OrganosegError, RuntimeError, MemoryError) as error:
            if len(some) == 1:
                self._progress[some[0].item.name].failures.append(
                    Failure(some[0].item.where, str(error))
                )
                self._scales.let_out(_weight(some[0].frame))
                return
            # One of them may be to blame, or they are too large together.
            for loaded in some:
                self._progress[loaded.item.name].waiting += 1
                self._waiting = [loaded]
                self._look(pool)
            return
        for loaded, (found, notes) in zip(some, answers, strict=True):
            self._answer(loaded, found, notes, pool)

    def _answer(
        self, loaded: _Loaded, found: Instances, notes: Sequence[str], pool: ThreadPoolExecutor
    ) -> None:
        frame, progress = loaded.frame, self._progress[loaded.item.name]
        classes = model_of(self.work).description.classes
        notes = (*frame.warnings, *notes)
        result = Result(frame.key, frame.image, found, classes, frame.fields, notes)
        weight = _weight(frame)
        self._room.acquire()
        # A disk that is full says so now, not at the end of a film of ten thousand pictures.
        self._reap(progress, [w for w in progress.writing if w.done()])
        writing = pool.submit(self._write, result, loaded.known is not None)
        writing.add_done_callback(lambda _: self._written(weight))
        progress.writing.append(writing)

    def _written(self, weight: int) -> None:
        self._room.release()
        self._scales.let_out(weight)

    def _write(self, result: Result, again: bool) -> None:
        out, key = self.work.out, result.key
        part = part_path(out, key)
        if not again:
            part.unlink(missing_ok=True)
        for writer in self.writers:
            path = writer.path(out, key)
            if not (again and path.exists()):
                _make_room(path, writer)
                writer.write(path, result)
        if self.with_thumbnails:
            write_bytes(thumbnail_path(out, key), thumbnail(result))
        if not (again and facts_path(out, key).exists()):
            # What the network remarked then is not known any more.
            write_json(facts_path(out, key), facts_of(result), indent=None)
        if not part.exists():
            part.parent.mkdir(parents=True, exist_ok=True)
            # Last, because it says that the others belong to it.
            write_instances(part, [(key, result.instances)], result.classes)

    def _finish(self, progress: _Progress, pool: ThreadPoolExecutor) -> None:
        """Wait for what is being written of an item, and write down what became of it."""
        self._reap(progress, list(progress.writing))
        if not progress.skipped:
            failed = bool(progress.failures)
            out, item, keys = self.work.out, progress.item, progress.keys
            # By another thread: a disk takes longer for it than the network for a picture.
            self._recording.append(pool.submit(write_record, out, item, keys, failed))
        while self._recording and self._recording[0].done():
            self._recording.popleft().result()
        self._ended += 1
        self._failed += len(progress.failures)
        facts = {"done": self._ended, "items": len(self.items), "failed": self._failed}
        self.tell("item", {**facts, "name": progress.item.name})

    def _reap(self, progress: _Progress, some: Sequence[Future[None]]) -> None:
        """Hear what became of these files. RunError when the disk does not take them."""
        for writing in some:
            progress.writing.remove(writing)
            try:
                writing.result()
            except RunError:
                raise  # of the disk, which would take the other pictures no better
            except OSError as error:
                raise _disk_error(error, self.work.out) from error
            # A picture that a format cannot hold costs that picture.
            except Exception as error:  # noqa: BLE001
                progress.failures.append(Failure(progress.item.where, str(error)))


def _disk_error(error: OSError, out: Path) -> RunError:
    return RunError(
        f"the results cannot be written: {error.strerror or error}",
        where=error.filename or out,
        remedy="Make room or mend the permissions, and run the same command: it goes on.",
    )


def _make_room(path: Path, writer: Writer) -> None:
    """The folder of a file, named in the error where it cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"the folder for {writer.name} cannot be made: {error.strerror or error}",
            where=path.parent,
            remedy="Check free space and permissions, and run the same command: it goes on.",
        ) from error
