"""Opening a run's folder: a new one, or one that goes on - in one process, under its task, on the same foundations."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_utils.config.loading import config_from_dict, config_hash
from data_utils.config.sections import Config
from data_utils.errors import InputError, ResumableError
from data_utils.imaging.images import file_hash
from models.checkpoint import check_task
from training import distributed
from training.run.folder import (
    RunLock,
    add_to_record,
    forget_in_record,
    is_finished,
    new_run_dir,
    read_record,
    write_record,
    write_settings,
)  # fmt: skip
from training.run.state import PREVIOUS, capture, finish_save, newest_checkpoint, restore, save_last

# What a run stands on - settings, data and the project's own code - and what of it changed before it was resumed.
#
# A resumed run ends as the uninterrupted one would only on the same foundations, so they are kept with every
# checkpoint.


ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("data_utils", "models", "evaluation", "training")  # whose code decides what a training computes
PACKAGES = ("torch", "ultralytics", "numpy", "opencv-python", "opencv-python-headless")
SHOWN = 5  # differences of a kind that are named; the others are counted
# Settings that change where and how fast a run runs, never what it computes: they may differ without a word.
NEUTRAL = {
    "run.name", "run.results_dir", "run.weights_dir", "run.fixed_copies", "run.workers", "run.cache", "run.panel_every",
    "run.sr_metric_frames", "run.fps_iters", "run.wandb", "run.tensorboard",
}  # fmt: skip

Digests = dict[str, str]


def config_part(config: Config) -> dict[str, Any]:
    """Return the settings as plain values, with their hash."""
    return {"config": config.model_dump(mode="json"), "config_hash": config_hash(config)}


def data_part(files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Return {"data": {part: {file: digest of its bytes}}, "lists": {part: digest of its files' order}}.

    files: of each part (train, val), in the order of its list. A file is named by its last three path components, so
    that a moved data folder is the same data. Raises InputError for a file that cannot be read.
    """
    data = {part: _digests(paths) for part, paths in files.items()}
    order = {part: _digest("\n".join(map(_name, paths)).encode()) for part, paths in files.items()}
    return {"data": data, "lists": order}


def code_part() -> dict[str, Any]:
    """Return {"code": {source file: digest}, "versions": {package: version}}."""
    sources = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    code = {path.relative_to(ROOT).as_posix(): _digest(path.read_bytes()) for path in sources}
    return {"code": code, "versions": {name: found for name in PACKAGES if (found := _version(name))}}


def differences(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> list[str]:
    """Say what differs between two foundations, a clause for each kind; empty where nothing of weight does.

    saved: a checkpoint, or whatever holds the keys of the parts above. Raises InputError for settings this version
    cannot read.
    """
    unrecorded = [key for key in ("data", "lists", "code", "versions", "config_hash") if not saved.get(key)]
    found = [f"not recorded in this checkpoint: {', '.join(unrecorded)}"] if unrecorded else []
    found += _listed("settings", _changed_settings(saved, now, where))
    for key, label in (("data", "data"), ("code", "code"), ("versions", "versions")):
        if key not in unrecorded:
            found += _listed(label, _changed(_flat(saved[key]), _flat(now[key]), with_values=key == "versions"))
    if "lists" not in unrecorded and not any(clause.startswith("data:") for clause in found):
        moved = [part for part in now["lists"] if saved["lists"].get(part) != now["lists"][part]]
        found += _listed("lists", [f"the order of {part}" for part in moved])
    return found


def _changed_settings(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> list[str]:
    if not isinstance(saved.get("config"), Mapping):
        return ["not recorded in this checkpoint"]
    if saved.get("config_hash", "") not in ("", config_hash(saved["config"])):
        return ["their hash does not fit them"]
    # Read back as settings: a key that is newer than the checkpoint has its default in both.
    before = config_from_dict(saved["config"], f"{where}: config").model_dump(mode="json")
    old, new = _flat(before), _flat(now["config"])
    return _changed(
        {key: value for key, value in old.items() if key not in NEUTRAL},
        {key: value for key, value in new.items() if key not in NEUTRAL},
        with_values=True,
    )


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], *, with_values: bool = False) -> list[str]:
    def shown(key: str) -> str:
        if not with_values:
            return f"{key} {'added' if key not in old else 'gone' if key not in new else 'changed'}"
        return f"{key} {_value(old.get(key))} -> {_value(new.get(key))}"

    return [shown(key) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def _listed(label: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return [f"{label}: {', '.join(items[:SHOWN])}{more}"]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _digests(paths: Iterable[Path]) -> Digests:
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as threads:  # reading and hashing free the interpreter
        return dict(zip(map(_name, unique), threads.map(_file_digest, unique), strict=True))


def _file_digest(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; prepare the data set again") from None


def _name(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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
