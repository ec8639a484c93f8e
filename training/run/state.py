"""A run's whole state as one checkpoint: what `capture` writes down, `restore` puts back.

Together with the foundations (training/run/resume.py) it makes a resumed run end as the uninterrupted one, bit for bit
on a CPU. There is no scheduler to save: the learning rate is a function of `progress.step` (training/optim.py), and the
order of frames and their augmentation are functions of (seed, epoch, index).
"""

from __future__ import annotations

import itertools
import os
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_utils.errors import InputError
from models import hardware
from models.checkpoint import load_state, read_checkpoint, write_checkpoint

# A run's full state on disk, so that a resumed run goes on as if it had not stopped.
#
# Checkpoints hold tensors and plain values only (NumPy's generator as plain lists), hence `weights_only=True` reads
# them.


LAST, PREVIOUS, BEST = "last.pt", ("last.1.pt", "last.2.pt"), "best.pt"
FRESH = "last.new.pt"  # being written and verified


def save_last(run_dir: Path, content: dict[str, Any]) -> None:
    """Write `last.pt`, verified by reading it back before the two older ones move on; a failed save loses nothing."""
    fresh = run_dir / FRESH
    try:
        write_checkpoint(fresh, content)
        read_checkpoint(fresh)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _move_up(run_dir)


def finish_save(run_dir: Path) -> None:
    """Bring a save to its end that was cut off after its file was whole; what is not whole is thrown away."""
    fresh = run_dir / FRESH
    if not fresh.exists():
        return
    try:
        read_checkpoint(fresh)
    except InputError:
        fresh.unlink()
    else:
        _move_up(run_dir)


def _move_up(run_dir: Path) -> None:
    """Let the fresh checkpoint become the last, and the older ones move on, as far as they have not yet."""
    newest_first = [run_dir / LAST, *(run_dir / name for name in PREVIOUS)]
    for newer, older in reversed(list(itertools.pairwise(newest_first))):
        if newer.exists() and newest_first[0].exists():
            os.replace(newer, older)
    os.replace(run_dir / FRESH, run_dir / LAST)
    _sync_folder(run_dir)


def newest_checkpoint(run_dir: Path) -> tuple[Path, dict[str, Any]]:
    """Return the newest readable checkpoint of a run, with a warning when a newer one is damaged.

    Raises InputError naming the fault when there is none.
    """
    candidates = [run_dir / name for name in (FRESH, LAST, *PREVIOUS)]
    problems = []
    for path in candidates:
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            print(f"warning: {problem}; going on from {path}, epoch {checkpoint.get('epoch')}", file=sys.stderr)
        return path, checkpoint
    raise InputError("; ".join(problems) or f"{run_dir}: holds no checkpoint to resume from")


def random_state() -> dict[str, Any]:
    """Capture Python's, NumPy's, torch's and CUDA's generators as tensors and plain values."""
    state: Any = np.random.get_state(legacy=True)  # noqa: NPY002 the global generator is meant
    name, keys, position, has_gauss, cached = state
    return {
        "python": _plain(random.getstate()),
        "numpy": [str(name), keys.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if hardware.n_cuda_devices() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` captured."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and hardware.n_cuda_devices():
        torch.cuda.set_rng_state_all(state["cuda"])


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _sync_folder(folder: Path) -> None:
    # A rename is durable only once its folder is; Windows cannot open folders and needs no such call.
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# Without these a run would not go on as it was; a checkpoint that lacks one is refused.
FIELDS = ("epoch", "progress", "model", "ema", "ema_updates", "optimizer", "scaler", "random")


def seed_generators(seed: int) -> None:
    """Start Python's, NumPy's and torch's global generators at `seed`."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 the global generator is meant
    torch.manual_seed(seed)


def is_finite(model: torch.nn.Module) -> bool:
    """Say whether every parameter is free of NaN and infinite values."""
    norms = torch._foreach_norm(list(model.parameters()))  # pyright: ignore[reportPrivateImportUsage]
    return bool(torch.isfinite(torch.stack([norm.float() for norm in norms])).all())


def capture(loop: Any) -> dict[str, Any]:
    """Return everything a `TrainingLoop` needs to go on, as tensors and plain values."""
    return {
        **loop.foundations,
        "task": loop.task,
        "run": loop.run_dir.name,
        "wandb_id": loop.wandb_id,
        "split": loop.split,
        "epoch": loop.progress.epoch,
        "progress": loop.progress.state(),
        "model": loop.model.state_dict(),
        "ema": loop.ema.model.state_dict(),
        "ema_updates": loop.ema.updates,
        "optimizer": loop.optimizer.state_dict(),
        "scaler": loop.scaler.state_dict(),
        "random": random_state(),
    }


def restore(loop: Any, checkpoint: dict[str, Any], where: str) -> None:
    """Load a checkpoint into a freshly built `TrainingLoop`. Raises InputError for one that lacks or misfits a part."""
    missing = [name for name in FIELDS if name not in checkpoint]
    if missing:
        raise InputError(f"{where}: not a run's state: it lacks {', '.join(missing)}; name another checkpoint")
    load_state(loop.model, checkpoint["model"], where)
    load_state(loop.ema.model, checkpoint["ema"], where)
    loop.ema.updates = checkpoint["ema_updates"]
    try:
        _restore_optimizer(loop.optimizer, checkpoint["optimizer"])
        loop.scaler.load_state_dict(checkpoint["scaler"])
        restore_random_state(checkpoint["random"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{where}: its optimiser or generators do not fit this run ({error})") from None
    loop.progress.load(checkpoint["progress"])
    if loop.progress.epoch != checkpoint["epoch"]:
        epochs = f"{checkpoint['epoch']} and {loop.progress.epoch}"
        raise InputError(f"{where}: says epoch {epochs}; name another checkpoint")
    loop.wandb_id = checkpoint.get("wandb_id") or loop.wandb_id


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the moments; weight decay, momentum and factors stay as built, since they may have been changed on purpose.

    Raises ValueError for the state of another kind of optimiser, which torch itself would take.
    """
    built = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    if any(("betas" in group) != ("betas" in own) for group, own in zip(saved["param_groups"], built, strict=False)):
        raise ValueError("they are of another optimizer")
    optimizer.load_state_dict(saved)
    for group, own in zip(optimizer.param_groups, built, strict=True):
        group.update(own)
