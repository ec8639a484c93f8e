"""Stopping a training half-way, and comparing what a resumed one left with what an uninterrupted one left."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import pytest
import torch

MACHINE_COLUMNS = {"images_per_s", "memory_gb"}  # of log.csv: how fast and on what, not what was computed
OF_THE_RUN = {"run", "wandb_id", "config", "config_hash"}  # in a checkpoint: which run it is, not what was computed


def stop_in_epoch(trainer: Any, epoch: int) -> None:
    """Run `trainer` until the first batch of `epoch` (from 1) has been followed, and stop it there like Ctrl-C."""
    step = trainer._step

    def step_and_stop() -> None:
        step()
        if trainer.progress.epoch == epoch - 1:
            raise KeyboardInterrupt

    trainer._step = step_and_stop
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()


def log_rows(run_dir: Path) -> list[dict[str, str]]:
    """Return the rows of log.csv without the columns that depend on the machine."""
    with open(run_dir / "log.csv", encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in MACHINE_COLUMNS} for row in csv.DictReader(file)]


def different_fields(one: Path, other: Path) -> set[str]:
    """Return what differs between two run folders: fields of last.pt and best.pt, bit for bit, and "log"."""
    found = set() if log_rows(one) == log_rows(other) else {"log"}
    for name in ("last.pt", "best.pt"):
        first, second = _kept_content(one / name), _content(other / name)
        for key in ({*first, *second}) - OF_THE_RUN:
            if not same(first.get(key), second.get(key)):
                found.add(key)
    return found


def _content(path: Path) -> dict[str, Any]:
    """Read a checkpoint that the test itself has made, by C's unpickler: a fifth of what `read_checkpoint` takes."""
    return torch.load(path, weights_only=False)


_kept_content = functools.lru_cache(maxsize=2)(_content)  # an uninterrupted run is compared with many


def same(one: Any, other: Any) -> bool:
    """Say whether two values of a checkpoint are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other
