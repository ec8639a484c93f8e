"""Measurements in fresh processes, under a time limit, that keep what was found before the end."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from data_utils.errors import InputError, ResumableError
from data_utils.processes import start_worker

Report = Callable[[dict[str, Any]], None]
TIME_IS_UP = "time is up"
LEAVE_SECONDS = 20  # for a child that was asked to stop, to leave its files whole


def in_a_child(
    measure: Callable[[Any, Report], None], job: Any, seconds: float, threads: int | None = None
) -> tuple[dict[str, Any], str]:
    """Run measure(job, report) in a fresh process for at most `seconds`; returns what it reported, and why it ended.

    The reason is empty when it finished; otherwise that the time was up, the memory out, or one line on what failed
    (its traceback goes to stderr). `threads` of torch; by default as many as here.
    """
    context = multiprocessing.get_context("spawn")  # a fork would inherit the parent's memory and CUDA state
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(measure, job, sender, threads or torch.get_num_threads()))
    child.start()
    sender.close()
    found: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    try:
        while receiver.poll(max(deadline - time.monotonic(), 0)):
            found |= receiver.recv()
        reason = TIME_IS_UP
        child.terminate()
        child.join(LEAVE_SECONDS)
    except EOFError:  # it has left
        child.join()
        reason = found.pop("error", "") or (f"exit code {child.exitcode}" if child.exitcode else "")
    finally:
        if child.is_alive():
            child.kill()
            child.join()
    return found, reason


def _measure(measure: Callable[[Any, Report], None], job: Any, sender: Connection, threads: int) -> None:
    start_worker()  # leaves with its parent; Ctrl-C is the parent's
    torch.set_num_threads(threads)
    try:
        measure(job, sender.send)
    except (torch.OutOfMemoryError, MemoryError):
        sender.send({"error": "out of memory"})
    except (InputError, ResumableError) as error:
        sender.send({"error": str(error)})
    sender.close()
