"""Work spread over processor cores, in processes that leave cleanly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Literal, TypeVar

import cv2

from data_utils.errors import ResumableError

Result = TypeVar("Result")
CHUNK = 4  # items a process takes at a time
MOST_LOADERS = 8  # more have not paid: a process delivers some hundred 320 px frames a second


def map_in_processes(
    work: Callable[..., Result], *arguments: Iterable[object], workers: int, chunk: int = CHUNK
) -> Generator[Result]:
    """Yield work(...) of each set of arguments, in order, as it is ready; `workers` is the number of processes.

    Raises ResumableError when a process dies, and whatever `work` raises. Closed early, it drops what still waits.
    """
    # Spawned, not forked: OpenCV's and torch's threads do not survive a fork and can lock up the child.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)
    try:
        yield from pool.map(work, *arguments, chunksize=chunk)
    except BrokenProcessPool:
        raise ResumableError("a worker process died, perhaps for want of memory; run again with --workers 1") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Return the number of processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loader_processes(asked: int | Literal["auto"], n_batches: int) -> int:
    """Return how many processes load batches (run.workers): as asked, or one a core, MOST_LOADERS and batch at most."""
    return min(available_cores(), MOST_LOADERS, n_batches) if asked == "auto" else asked


def start_worker() -> None:
    """Settle a process of the pool: one thread, Ctrl-C left to the parent, and no life after it."""
    cv2.setNumThreads(1)  # one process for each core already
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when its parent was killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
