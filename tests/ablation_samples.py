"""Jobs of the ablation runner that cost nothing, and works that end in every way a training can."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import yaml
from conftest import PreparedSet
from training_processes import quiet

from data_utils.config.loading import override_config
from data_utils.errors import InputError, MissingFile, ResumableError
from evaluation.paper.results import RESULT
from training.ablations import job as ablation_job
from training.ablations.plan import Job

NUMBERS = {"ap50": 0.5, "fps": 10.0, "gflops": 8.1, "epochs_trained": 1}


def base_config(prepared: PreparedSet, folder: Path, *settings: str) -> Path:
    """Write the tiny set's settings, with results below `folder`, as a config file."""
    small = [f"run.results_dir='{folder / 'results'}'", "sr_decoder=none", "run.panel_every=0", "eval.resamples=20",
             "run.fps_iters=3"]  # fmt: skip
    config = override_config(prepared.config, [*small, *settings])
    path = folder / "base.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def registry(folder: Path, **runs: dict) -> Path:
    """Write a registry of these runs."""
    path = folder / "runs.yaml"
    path.write_text(json.dumps({"runs": runs}))  # JSON is YAML, and has no aliases
    return path


def write_result(job: Job) -> dict:
    """Do what a job does, without training."""
    result = {"name": job.name, "seed": job.seed, "split": job.split, "key": job.key, "overrides": list(job.overrides),
              **NUMBERS, "evaluations": {"test": "runs/x/eval_test.json"}}  # fmt: skip
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / RESULT).write_text(json.dumps(result))
    return result


def perform(job: Job) -> dict:
    """End as the job's name says."""
    if job.name == "disk_full":
        raise OSError(errno.ENOSPC, "No space left on device", "weights/last.pt")
    if job.name == "stops":
        raise ResumableError("loss not finite in batch 3")
    if job.name == "lacks":
        raise MissingFile("pretrain = x.pt: no such file; put it there", "weights/x.pt")
    if job.name == "bad":
        raise InputError("lists: two patients\nin one")
    if job.name == "ours":
        raise KeyError("a fault")
    if job.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if job.name == "hangs":
        (job.folder / "begun").touch()
        time.sleep(60)
    return write_result(job)


def attempt(job: Job) -> ablation_job.Outcome:
    """`ablation_job.attempt` with `perform` above in place of a training; for processes of their own."""
    ablation_job.perform = perform
    return ablation_job.attempt(job)


def train_and_die(job: Job) -> None:
    """Train, and be killed when the second epoch is about to be saved."""
    loop = importlib.import_module("training.loop").TrainingLoop
    finish_epoch = loop._finish_epoch

    def watched(self: Any, *arguments: Any) -> None:
        if self.progress.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        finish_epoch(self, *arguments)

    loop._finish_epoch = watched
    go_on(job)


def go_on(job: Job) -> None:
    """Do the job for real, without words and pictures."""
    quiet()
    importlib.import_module("training.loop").redraw = lambda _: None  # pictures cost more than the training
    outcome = ablation_job.attempt(job)
    os._exit(0 if outcome.ok else 3)
