"""Opening a run's folder: a new one, or one that goes on - in one process, under its task, on the same foundations."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_utils.errors import InputError, ResumableError
from models.weights import check_task
from training import distributed
from training.checkpoint import PREVIOUS, finish_save, newest_checkpoint, save_last
from training.foundations import differences
from training.run_folder import (
    add_to_record,
    forget_in_record,
    is_finished,
    new_run_dir,
    read_record,
    write_record,
    write_settings,
)  # fmt: skip
from training.run_lock import RunLock
from training.run_state import capture, restore

FILES_KEPT = 2 + len(PREVIOUS) + 1  # the best, the last, those before it, and one being written
ACCEPT = "--accept-changes"


def open_run(loop: Any, resume: Path | None, accept_changes: bool) -> Path:
    """Open the folder for a `TrainingLoop` and lock it; a resumed run's state is restored into the loop.

    A new run's state is saved before its first epoch, so that it can be resumed from the start on. Raises InputError
    for a finished run, one that another process works on, one of another task, and, unless `accept_changes`, one whose
    settings, data or code have changed since; ResumableError when the disk has no room for it.
    """
    try:
        # In several processes the first one opens, locks and reads for all: the folder may lie on its own disk.
        run_dir, checkpoint, where, changes = distributed.from_main(
            lambda: _new(loop) if resume is None else _reopened(loop, resume, accept_changes)
        )
        loop.run_dir = run_dir
        if checkpoint is not None:
            restore(loop, checkpoint, where)  # before the settings are written: some fit no checkpoint of this run
        if distributed.is_main():
            save_last(run_dir, capture(loop)) if checkpoint is None else _note(loop, checkpoint, changes)
    except BaseException:
        if loop.lock is not None:
            loop.lock.release()
        raise
    return run_dir


def _new(loop: Any) -> tuple[Path, None, str, list[str]]:
    _require_room(loop)
    run_dir = new_run_dir(loop.config, loop.split, loop.task)
    loop.lock = RunLock(run_dir)
    how = {"task": loop.task, "device": str(loop.device), "precision": loop.precision, "weights": loop.origin}
    how["precision_reason"] = loop.number_format.reason
    more = {"measure": loop.score.key, "processes": distributed.world_size(), **loop._record()}
    write_record(run_dir, loop.config, loop.split, **how, **more)
    return run_dir, None, "", []


def _reopened(loop: Any, run_dir: Path, accept_changes: bool) -> tuple[Path, dict[str, Any], str, list[str]]:
    refuse_finished(run_dir, accept_changes)
    loop.lock = RunLock(run_dir)
    refuse_finished(run_dir, accept_changes)  # it may have ended while it held the lock
    finish_save(run_dir)
    path, checkpoint = newest_checkpoint(run_dir)
    check_task(checkpoint, loop.task, str(path))
    _refuse_trained(run_dir, checkpoint, loop.config.epochs)
    changes = differences(checkpoint, loop.foundations, str(path)) + _other_format(loop, run_dir)
    if changes and not accept_changes:
        raise InputError(
            f"{path}: changed since this run was saved - {'; '.join(changes)}. It would not end as it would have; to "
            f"go on all the same: {loop.command} --resume {_quoted(run_dir)} {ACCEPT} (and the same key=value words)"
        )
    if changes:
        print(f"note: going on although changed - {'; '.join(changes)}", file=sys.stderr)
    return run_dir, checkpoint, str(path), changes


def _other_format(loop: Any, run_dir: Path) -> list[str]:
    """Name the number format where `auto` chooses another one than when the run began: another machine, or version."""
    before = read_record(run_dir).get("precision", loop.precision)
    if before == loop.precision:
        return []
    return [f"run.precision: {before} then, {loop.number_format} now; run.precision={before} keeps it"]


def _note(loop: Any, checkpoint: Mapping[str, Any], changes: list[str]) -> None:
    """Write down that the run goes on, from where, and with which settings."""
    forget_in_record(loop.run_dir, "stopped", "result")
    add_to_record(loop.run_dir, resumed_at={"epoch": checkpoint.get("epoch"), "changes": changes})
    write_settings(loop.run_dir, loop.config)


def refuse_finished(run_dir: Path, accept_changes: bool) -> None:
    """Raise InputError for a run that is finished, unless `accept_changes` says that it may train on."""
    if is_finished(run_dir) and not accept_changes:
        raise InputError(
            f"{run_dir}: this run is finished; nothing to resume. More epochs: --resume {_quoted(run_dir)} epochs=N "
            f"{ACCEPT}"
        )


def _refuse_trained(run_dir: Path, checkpoint: Mapping[str, Any], epochs: int) -> None:
    """Raise InputError where no epoch is left to train: the result would be written anew, and say less."""
    trained = checkpoint.get("epoch")
    if isinstance(trained, int) and (trained > epochs or (trained == epochs and is_finished(run_dir))):
        raise InputError(
            f"{run_dir}: {trained} epochs are trained and epochs = {epochs}: nothing is left to train; to train on: "
            f"--resume {_quoted(run_dir)} epochs=N {ACCEPT}"
        )


def _quoted(run_dir: Path) -> str:
    return shlex.quote(str(run_dir))


def _require_room(loop: Any) -> None:
    """Raise ResumableError when the results' disk cannot hold the checkpoints of this run."""
    needed = FILES_KEPT * (4 * _bytes_of(loop.model) + 1_000_000)  # weights, average, two moments
    folder = Path(loop.config.run.results_dir).absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise ResumableError(
            f"{folder}: {free / 1e6:.0f} MB free, the checkpoints of this run take about {needed / 1e6:.0f} MB; "
            "make room, or name another disk: run.results_dir=PATH"
        )


def _bytes_of(model: torch.nn.Module) -> int:
    tensors: list[Tensor] = list(model.state_dict().values())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
