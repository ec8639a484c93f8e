"""A run's whole state as one checkpoint: what `capture` writes down, `restore` puts back.

Together with the foundations (training/foundations.py) it makes a resumed run end as the uninterrupted one, bit for bit
on a CPU. There is no scheduler to save: the learning rate is a function of `progress.step` (training/optim.py), and the
order of frames and their augmentation are functions of (seed, epoch, index).
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from data_utils.errors import InputError
from models.weights import load_state
from training.checkpoint import random_state, restore_random_state

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
