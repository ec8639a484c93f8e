"""What the Ray nodes of test_ablation_ray.py do in place of a training: imported there, so light."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ablation_samples import write_result

from training.ablation_job import Outcome, noted
from training.ablation_plan import Job


def work(job: Job) -> Outcome:
    """Note the process; the first time a job named slow is begun it never ends, the second time it finds its trace."""
    job.folder.mkdir(parents=True, exist_ok=True)
    trace = job.folder / "begun"
    with trace.open("a") as file:
        file.write(f"{os.environ.get('RAY_NODE', os.getpid())}\n")
    if job.name == "slow" and len(trace.read_text().splitlines()) == 1:
        Path(job.results_dir, "slow_began").touch()
        time.sleep(300)
    if job.name == "dies":
        os._exit(1)
    write_result(job)
    return noted(job, Outcome("done"))
