"""Work that overlaps: reading ahead, several frames at once, writing behind. Order is kept, memory is bounded.

Threads suffice: decoding, networks and encoding all run outside Python's lock.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END = object()
POLL_SECONDS = 0.1  # how soon a reader that nobody listens to any more notices


def read_ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `items`, taking up to `depth` of them in advance in a thread of its own; its error is raised here.

    Close the iterator to stop early: the thread has then ended.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=POLL_SECONDS)
            except queue.Full:
                continue
            return

    def fill() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
        except BaseException as error:
            put((None, error))
            return
        put(_END)

    thread = threading.Thread(target=fill, name="read ahead", daemon=True)
    thread.start()
    try:
        while (got := waiting.get()) is not _END:
            item, error = got
            if error is not None:
                raise error
            yield item
    finally:
        stopped.set()
        thread.join()


def ordered_map(work: Callable[[T], R], items: Iterator[T], threads: int) -> Iterator[tuple[T, R]]:
    """Yield each item with `work(item)`, in the order of the items, with `threads` of them under way at once.

    One more is begun than there are threads, so that none waits for whoever takes the results. An error of the items is
    raised after the results of those before it.
    """
    under_way: deque[tuple[T, Future[R]]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(threads, thread_name_prefix="detect") as pool:
        try:
            while True:
                try:
                    item = next(items)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                under_way.append((item, pool.submit(work, item)))
                if len(under_way) > threads:
                    done, future = under_way.popleft()
                    yield done, future.result()
            while under_way:
                done, future = under_way.popleft()
                yield done, future.result()
            if failure is not None:
                raise failure
        finally:
            for _, future in under_way:
                future.cancel()


class Behind:
    """Do jobs in a thread, in the order they were given; at most `depth` wait. A job's error meets the next call.

    Use as a context manager; leaving it waits for all jobs, unless one failed.
    """

    def __init__(self, depth: int) -> None:
        self._waiting: queue.Queue[Any] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="write behind", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._waiting.put(None)
        self._thread.join()
        if kind is None:
            self._raise()

    def do(self, job: Callable[[], object]) -> None:
        """Hand over a job; waits while too many are waiting."""
        self._raise()
        self._waiting.put(job)

    def _work(self) -> None:
        while (job := self._waiting.get()) is not None:
            if self._error is None:  # after a failure the rest is taken off the queue, not done
                try:
                    job()
                except BaseException as error:
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def overlapped(items: Iterable[T], work: Callable[[T], R], threads: int) -> Iterator[tuple[T, R]]:
    """Read ahead and work on several items at once; see `read_ahead` and `ordered_map`."""
    with closing(read_ahead(items, 2 * threads)) as ahead:  # pyright: ignore[reportArgumentType] - a generator
        yield from ordered_map(work, ahead, threads)
