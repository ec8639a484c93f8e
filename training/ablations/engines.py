"""The ablation runner's own engine: one job after the other, each in a process of its own.

A process that dies, for want of memory or otherwise, takes no other job along, and a fresh one starts with none of the
memory of the one before it.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from data_utils.errors import InputError, InterruptedRun, StopSignal
from training.ablations.job import Outcome, attempt, is_done, noted
from training.ablations.plan import Job

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


# The ablation runner on a Ray cluster: `ray start --head` on one machine, `ray start --address` on the others.
#
# Every node needs this project, its environment and the same working folder (a shared disk): a job whose node dies goes
# on elsewhere from its last checkpoint. Ray itself is an extra: pip install 'ray[default]'.


RETRIES = 3  # times a job is sent again after its node or its process died


@dataclass(frozen=True)
class Nodes:
    """The cluster's address (None: one started on this machine), and what a job takes: cores, and the device asked for.

    On a GPU (`cuda`, or `auto` where the cluster has some) each job gets one.
    """

    address: str | None = None
    cpus: int = 2
    device: str = "auto"


def require_ray() -> Any:
    """Return the module ray; raises InputError saying how to get it."""
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise InputError(
            "--engine ray: Ray is not installed; install the extra (`pip install 'ray[default]'`), or leave --engine "
            "out to run one after another here"
        ) from None


def run_on_ray(
    jobs: Sequence[Job],
    report: Report,
    nodes: Nodes,
    work: Callable[[Job], Outcome] = attempt,
) -> None:
    """Send the jobs to the cluster and report outcomes as they come.

    Two jobs that rest on one unfinished stage never run at once. Raises InputError when the cluster cannot be reached,
    or has no node of the size that a job takes.
    """
    ray = require_ray()
    _connect(ray, nodes.address)
    try:
        task = ray.remote(**_size(ray, nodes), max_retries=RETRIES)(_in_folder)
        waiting, running = list(jobs), {}
        while waiting or running:
            for job in _startable(waiting, list(running.values())):
                waiting.remove(job)
                if is_done(job):
                    report(job, Outcome("done before"))
                else:
                    running[task.remote(work, job, os.getcwd(), nodes.cpus)] = job
            if running:
                (ready,), _ = ray.wait(list(running), num_returns=1)
                job = running.pop(ready)
                report(job, _outcome(ray, ready, job))
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, log_to_driver=True, include_dashboard=False if address is None else None)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({reason}); start one: ray start --head"
        ) from None


def _size(ray: Any, nodes: Nodes) -> dict[str, int]:
    """Return what a job takes of a node: one GPU where the jobs run on GPUs, else its cores."""
    sizes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = {kind: max((size.get(kind, 0) for size in sizes), default=0) for kind in ("CPU", "GPU")}
    gpus = int(nodes.device.startswith("cuda") or (nodes.device == "auto" and most["GPU"] >= 1))
    if most["GPU"] < gpus or most["CPU"] < nodes.cpus:
        raise InputError(
            f"--engine ray: a run takes {nodes.cpus} CPUs and {gpus} GPUs, and the largest node has {most['CPU']:g} "
            f"and {most['GPU']:g}; lower --cpus, or name --device cpu"
        )
    return {"num_cpus": nodes.cpus, "num_gpus": gpus}


def _startable(waiting: Sequence[Job], running: Sequence[Job]) -> list[Job]:
    """Return the jobs whose unfinished stages no other one is training, in order."""
    taken = {stage for job in running for stage in job.stages}
    found = []
    for job in waiting:
        if not taken & set(job.stages):
            found.append(job)
            taken |= set(job.stages)
    return found


def _outcome(ray: Any, ready: Any, job: Job) -> Outcome:
    try:
        return ray.get(ready)
    except ray.exceptions.RayError as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        return noted(job, Outcome("failed", f"{type(error).__name__} on the cluster: {reason}"))


def _in_folder(work: Callable[[Job], Outcome], job: Job, folder: str, cpus: int) -> Outcome:
    """On a node: do the job in the driver's working folder, with as many threads as it was given cores."""
    os.chdir(folder)
    os.environ["OMP_NUM_THREADS"] = str(cpus)  # Ray sets 1; before torch is imported
    return work(job)
