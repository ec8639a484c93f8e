"""The ablation runner on a Ray cluster: `ray start --head` on one machine, `ray start --address` on the others.

Every node needs this project, its environment and the same working folder (a shared disk): a job whose node dies goes
on elsewhere from its last checkpoint. Ray itself is an extra: pip install 'ray[default]'.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from data_utils.errors import InputError
from training.ablation_job import Outcome, attempt, is_done, noted
from training.ablation_plan import Job

Report = Callable[[Job, Outcome], None]
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
