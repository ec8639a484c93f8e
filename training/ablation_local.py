"""The ablation runner's own engine: one job after the other, each in a process of its own.

A process that dies, for want of memory or otherwise, takes no other job along, and a fresh one starts with none of the
memory of the one before it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from data_utils.errors import InterruptedRun
from data_utils.stop import StopSignal
from training.ablation_job import Outcome, attempt, is_done, noted
from training.ablation_plan import Job

Report = Callable[[Job, Outcome], None]
LOOK_SECONDS = 0.2


def run_locally(jobs: Iterable[Job], report: Report, work: Callable[[Job], Outcome] = attempt) -> None:
    """Do the jobs in order and report each outcome; Ctrl-C or SIGTERM stops at a batch edge with InterruptedRun."""
    with StopSignal() as stop:
        for job in jobs:
            outcome = _outcome_without_training(job) or _in_a_process(job, work, stop)
            report(job, outcome)
            if stop.number:
                name = signal.Signals(stop.number).name
                raise InterruptedRun(f"stopped by {name}; the same command goes on with it", 128 + stop.number)


def _outcome_without_training(job: Job) -> Outcome | None:
    """Return the outcome of a job that needs no process: finished ones, and those that lack something."""
    if is_done(job):
        return Outcome("done before")
    return noted(job, Outcome("needs", job.needs)) if job.needs else None


def _in_a_process(job: Job, work: Callable[[Job], Outcome], stop: StopSignal) -> Outcome:
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads and CUDA state
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_do, args=(work, job, sender), name=job.title)
    child.start()
    sender.close()
    asked_to_stop = False
    try:
        while child.is_alive():
            child.join(LOOK_SECONDS)
            if stop.number and not asked_to_stop:
                child.terminate()  # it saves at the edge of a batch
                asked_to_stop = True
        if receiver.poll():
            return receiver.recv()
    except EOFError:
        pass
    finally:
        if child.is_alive():
            child.kill()
            child.join()
    return noted(job, Outcome("stopped", "stopped by a signal") if asked_to_stop else _died(child.exitcode or 0))


def _died(exit_code: int) -> Outcome:
    if exit_code == -signal.SIGKILL:
        return Outcome("failed", "its process was killed (SIGKILL); perhaps for want of memory: a smaller batch_size")
    name = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
    return Outcome("failed", f"its process ended without a word ({name})")


def _do(work: Callable[[Job], Outcome], job: Job, sender: Connection) -> None:
    os.setsid()  # Ctrl-C in a terminal is the runner's, which asks this process to stop once
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_the_runner, daemon=True).start()
    sender.send(work(job))
    sender.close()


def _leave(*_: FrameType | int | None) -> None:
    """Leave where no training catches the signal: nothing that was saved is lost."""
    raise InterruptedRun("stopped by SIGTERM", 128 + signal.SIGTERM)


def _leave_with_the_runner() -> None:
    """End at once when the runner was killed: what is saved is whole at any moment, and its folder becomes free."""
    parent: Any = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
