"""What the Ray nodes of test_ablation_ray.py do in place of a training: imported there, so light."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path

from ablation_samples import write_result

from data_utils.files import write_text
from training.ablations.job import Outcome, noted
from training.ablations.plan import Job


def work(job: Job) -> Outcome:
    """Note the node; the first time a job named slow is begun it never ends, the second time it finds its trace."""
    job.folder.mkdir(parents=True, exist_ok=True)
    trace = job.folder / "begun"
    node = importlib.import_module("ray").get_runtime_context().get_node_id()
    with trace.open("a") as file:
        file.write(f"{node}\n")
    if job.name == "slow" and len(trace.read_text().splitlines()) == 1:
        write_text(Path(job.results_dir, "slow_began"), node)
        time.sleep(300)
    if job.name == "dies":
        os._exit(1)
    write_result(job)
    return noted(job, Outcome("done"))
