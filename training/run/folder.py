"""The run folder: its name, its record of settings and machine, and the copies under fixed names."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from data_utils.config.loading import config_hash, load_config, yaml_text
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.files import read_saved_json, write_text
from models.checkpoint import DETECTION, check_task
from training.run.state import BEST, LAST

# One process in a run folder: the lock, and who holds it.


LOCK, OWNER = "run.lock", "run.owner.json"


class RunLock:
    """Held from construction until `release`; the system frees it when the process ends in whatever way.

    Raises InputError naming the owner's process id when another process holds it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._lock = FileLock(run_dir / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{run_dir}: {owner(run_dir)} works in this run folder; wait for it, or stop it") from None
        write_text(run_dir / OWNER, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")

    def release(self) -> None:
        """Let others in."""
        if self._lock.is_locked:
            (self.run_dir / OWNER).unlink(missing_ok=True)
            self._lock.release()


def is_held(run_dir: Path) -> bool:
    """Say whether a process works in this run folder now; leaves no trace."""
    if not (run_dir / LOCK).is_file():
        return False
    lock = FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def owner(run_dir: Path) -> str:
    """Return "process <pid> on <host>" of the lock's holder, as far as it is known."""
    try:
        record = json.loads((run_dir / OWNER).read_text(encoding="utf-8"))
        return f"process {record['pid']} on {record['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


RUN_RECORD = "run.json"


def new_run_dir(config: Config, split: int, task: str = DETECTION) -> Path:
    """Make and return `<results>/runs/<name>`; raises InputError when a named run exists.

    A named folder that a run was killed in before it saved anything is taken again.
    """
    runs = Path(config.run.results_dir) / "runs"
    if config.run.name:
        run_dir = runs / config.run.name
        if run_dir.exists() and not _never_began(run_dir):
            way = f"--resume {shlex.quote(str(run_dir))}"
            raise InputError(f"{run_dir}: this run exists; go on with {way}, or choose another run.name")
    else:
        kind = "" if task == DETECTION else f"{task}_"
        name = f"{config.dataset.name}_split{split}_{kind}{time.strftime('%Y%m%d-%H%M%S')}"
        free = [name, *(f"{name}-{n}" for n in range(2, 100))]
        run_dir = next(runs / candidate for candidate in free if not (runs / candidate).exists())
    run_dir.mkdir(parents=True, exist_ok=bool(config.run.name))
    return run_dir


def resumed_run(
    asked: str, config_path: str, split: int | None, overrides: list[str], task: str = DETECTION
) -> tuple[Path, Config, int]:
    """Resolve `--resume [RUN]` into run folder, its settings with `overrides` laid over, and its split.

    split: None for the run's own; without RUN, the newest of split 1. Raises InputError when there is no such run, or
    when it is one of another task or split. Whether it may go on with other
    settings than it had is for training/run/resume.py to say.
    """
    if "=" in asked and not Path(asked).exists():
        raise InputError(f"--resume {asked}: a setting stands where the run folder goes; write --resume RUN {asked}")
    run_dir = newest_run_dir(load_config(config_path), split or 1, task) if asked == "newest" else Path(asked)
    if run_dir.is_file():
        run_dir = run_dir.parent
    record = read_record(run_dir)
    its_split = record.get("split")
    if not isinstance(its_split, int):
        raise InputError(f"--resume {asked}: not a run folder (no readable {RUN_RECORD} in {run_dir})")
    check_task(record, task, str(run_dir))
    if split not in (None, its_split):
        raise InputError(f"--split {split}: {run_dir} is a run of split {its_split} and goes on there; leave it out")
    return run_dir, load_config(run_dir / "config.yaml", overrides), its_split


def newest_run_dir(config: Config, split: int, task: str = DETECTION) -> Path:
    """Return the newest run of this data set, split and task, for a bare --resume."""
    results = Path(config.run.results_dir)
    folders = results.glob(f"runs/*/{RUN_RECORD}")
    runs = [(file.stat().st_mtime, file.parent) for file in folders if _is_of(file.parent, config, split, task)]
    if not runs:
        raise InputError(f"--resume: no run of data set '{config.dataset.name}', split {split}, under {results}/runs")
    return max(runs)[1]


def write_record(run_dir: Path, config: Config, split: int, **more: Any) -> None:
    """Write config.yaml and run.json: the command, the machine, versions and the settings' hash."""
    write_settings(run_dir, config)
    record = {
        "dataset": config.dataset.name,
        "split": split,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config_hash": config_hash(config),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        **more,
    }
    write_text(run_dir / RUN_RECORD, json.dumps(record, indent=2) + "\n")


def write_settings(run_dir: Path, config: Config) -> None:
    """Write config.yaml, from which the run is resumed."""
    write_text(run_dir / "config.yaml", yaml_text(config.model_dump(mode="json")))


def add_to_record(run_dir: Path, **more: Any) -> None:
    """Add keys to run.json."""
    path = run_dir / RUN_RECORD
    write_text(path, json.dumps({**read_record(run_dir), **more}, indent=2) + "\n")


def forget_in_record(run_dir: Path, *keys: str) -> None:
    """Take keys out of run.json."""
    record = {key: value for key, value in read_record(run_dir).items() if key not in keys}
    write_text(run_dir / RUN_RECORD, json.dumps(record, indent=2) + "\n")


def finish_record(run_dir: Path, result: dict[str, Any]) -> None:
    """Add the run's result to run.json."""
    add_to_record(run_dir, result=result)


def is_finished(run_dir: Path) -> bool:
    """Say whether the run ended by itself."""
    return "result" in read_record(run_dir)


def copy_to_fixed_names(run_dir: Path, config: Config, split: int) -> list[Path]:
    """Copy checkpoints and log to their fixed names (weights/best_split1.pt...); returns the copies."""
    weights, results = Path(config.run.weights_dir), Path(config.run.results_dir)
    pairs = [
        (run_dir / BEST, weights / f"best_split{split}.pt"),
        (run_dir / LAST, weights / f"last_split{split}.pt"),
        (run_dir / "log.csv", results / f"train_log_split{split}.csv"),
    ]
    for source, target in pairs:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(source, partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return [target for _, target in pairs]


def _is_of(run_dir: Path, config: Config, split: int, task: str) -> bool:
    record = {"task": DETECTION, **read_record(run_dir)}
    return all(record.get(k) == v for k, v in {"dataset": config.dataset.name, "split": split, "task": task}.items())


def _never_began(run_dir: Path) -> bool:
    """Whether all a folder holds is what a run writes before its first checkpoint, and no process is at it."""
    early = {"config.yaml", RUN_RECORD, LOCK, OWNER}
    names = {path.name for path in run_dir.iterdir()}
    return all(name in early or name.startswith(".") for name in names) and not is_held(run_dir)


def read_record(run_dir: Path) -> dict[str, Any]:
    """Return what run.json says; empty when it is missing or torn."""
    return read_saved_json(run_dir / RUN_RECORD)
