"""One job of the ablation runner: trained, evaluated, noted - wherever an earlier process left off."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_utils.audit import require_clean
from data_utils.config.loading import load_config
from data_utils.errors import NO_ROOM, InputError, MissingFile, ResumableError
from data_utils.files import read_saved_json, write_text
from evaluation.paper.results import RESULT, STATE, has_numbers, read_result
from training.ablations.plan import Job, job_key

StateName = Literal["done", "done before", "running", "needs", "busy", "stopped", "failed"]
LOCK_SECONDS = 5.0  # for the process of a runner that was just killed to let go of the folder


@dataclass(frozen=True)
class Outcome:
    """How a job ended, and why where that is not plain."""

    state: StateName
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether its result is there."""
        return self.state in ("done", "done before")

    def __str__(self) -> str:
        link = " " if self.state == "needs" else ": "
        return f"{self.state}{link}{self.why}" if self.why else self.state


def attempt(job: Job) -> Outcome:
    """Do what is left of a job; whatever goes wrong becomes its outcome, noted in its folder's state.json.

    A finished job is left alone to the byte, and so is one that another process works on.
    """
    from training.run.folder import RunLock

    if is_done(job):
        return Outcome("done before")
    if job.needs:
        return noted(job, Outcome("needs", job.needs))
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            job.folder.mkdir(parents=True, exist_ok=True)
            lock = RunLock(job.folder)
            break
        except OSError as error:
            return Outcome("stopped", _about_disk(error))
        except InputError as error:
            if time.monotonic() > deadline:
                return Outcome("busy", str(error))
            time.sleep(0.2)
    try:
        return Outcome("done before") if is_done(job) else _ended(job)
    finally:
        lock.release()


def perform(job: Job) -> dict[str, Any]:
    """Train, evaluate on the test list and the external sets, and write result.json; returns its content.

    A training that was begun goes on where its last checkpoint is. Raises as training and evaluation do, and InputError
    when the config files no longer say what was planned: the result would stand for settings it was not made with.
    """
    from training.run.folder import add_to_record, is_finished
    from training.stage_runs import run_stages
    from training.tasks.branch import trainer_class

    config = job.config()
    if job_key(config, job.split) != job.key:
        raise InputError(f"{job.config_path}: it or a file it names was changed since this command began; run it again")
    audited = require_clean(config, job.split, skippable=False)
    if not is_finished(job.run_dir):
        run_stages(config, device=job.device)
        resume = job.run_dir if any(job.run_dir.glob("last*.pt")) else None
        its = load_config(job.run_dir / "config.yaml") if resume else config
        trainer = trainer_class(its)(its, job.split, device=job.device, resume=resume)
        add_to_record(trainer.run_dir, audit=audited)
        trainer.fit()
    result = _evaluated(job)
    write_text(job.folder / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def is_done(job: Job) -> bool:
    """Say whether the job's result is there, of these settings and on every set that is to be measured."""
    result = read_result(job.folder)
    if result.get("key") != job.key or not has_numbers(result):
        return False
    return set(result["evaluations"]) >= {"test", *job.config().dataset.external}


def standing(job: Job) -> Outcome:
    """Say how a job stands that this command has not come to, or was not asked for."""
    if is_done(job):
        return Outcome("done before")
    state = read_saved_json(job.folder / STATE)
    if state.get("key") != job.key or state.get("state") not in ("needs", "stopped", "failed"):
        return Outcome("stopped", "not begun" if state.get("key") != job.key else "not finished")
    return Outcome(state["state"], str(state.get("why", "")))


def noted(job: Job, outcome: Outcome) -> Outcome:
    """Write down how a job stands; a folder that cannot be written changes nothing about that."""
    record = {
        "state": outcome.state,
        "why": outcome.why,
        "key": job.key,
        "split": job.split,
        "overrides": list(job.overrides),
        "process": f"{os.getpid()} on {socket.gethostname()}",
    }
    try:
        write_text(job.folder / STATE, json.dumps(record, indent=1) + "\n")
    except OSError as error:
        print(f"warning: {job.folder / STATE}: {error.strerror}; the state is not written", file=sys.stderr)
    return outcome


def _ended(job: Job) -> Outcome:
    """Perform the job, and turn what stopped it into an outcome."""
    noted(job, Outcome("running"))
    try:
        perform(job)
        return noted(job, Outcome("done"))
    except ResumableError as error:
        return noted(job, Outcome("stopped", _one_line(error)))
    except MissingFile as error:
        return noted(job, Outcome("needs", f"{error.file} ({_one_line(error)})"))
    except InputError as error:
        return noted(job, Outcome("failed", _one_line(error)))
    except OSError as error:
        state = "stopped" if error.errno in NO_ROOM else "failed"
        return noted(job, Outcome(state, _about_disk(error)))
    except Exception as error:  # a fault of ours, or memory: the other runs go on, and the table says so
        traceback.print_exc()
        return noted(job, Outcome("failed", f"{type(error).__name__}: {_one_line(error)}"))


def _evaluated(job: Job) -> dict[str, Any]:
    from evaluation.evaluation_run import evaluate_checkpoint
    from training.run.folder import read_record

    config, record = job.config(), read_record(job.run_dir)
    trained, resumed_at = record["result"], record.get("resumed_at", {})
    best, files, test = job.run_dir / "best.pt", {}, {}
    # The checkpoint knows neither sets that were added since, nor that the results were moved, their ledger along.
    external = json.dumps(config.model_dump(mode="json")["dataset"]["external"])
    given = [f"dataset.external={external}", f"run.results_dir={json.dumps(job.results_dir)}"]
    for data in ("test", *config.dataset.external):
        done = evaluate_checkpoint(best, split=job.split, data=data, device_name=job.device, overrides=given)
        files[data] = Path(os.path.relpath(done.files[0], job.results_dir)).as_posix()
        test = test or done.metrics
    return {
        "name": job.name,
        "seed": job.seed,
        "split": job.split,
        "overrides": list(job.overrides),
        "key": job.key,
        "dataset": config.dataset.name,
        "imgsz": config.imgsz_lr,
        "epochs": config.epochs,
        "epochs_trained": trained["epochs_trained"],
        "best_epoch": trained["best_epoch"],
        # A resumed run knows the time of its last part alone, which is not what the training took.
        "seconds": None if resumed_at.get("epoch") else trained["seconds"],
        **{name: test[name] for name in ("ap50", "fps", "gflops")},
        "run": Path(os.path.relpath(job.run_dir, job.results_dir)).as_posix(),
        "evaluations": files,
    }


def _about_disk(error: OSError) -> str:
    place = error.filename2 or error.filename or "output"
    return f"{place}: {error.strerror}; make room or change the folder (run.results_dir=PATH), then run again"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
