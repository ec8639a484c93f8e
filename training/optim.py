"""The optimiser, and its learning rate as a pure function of the step: a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from data_utils.config_sections import Config

# name -> builder(parameter groups, learning rate, momentum, fused).
# `fused` steps all parameters at once; on a CPU torch would else walk through some hundred small tensors.
OPTIMIZERS: dict[str, Callable[[list[dict], float, float, bool], torch.optim.Optimizer]] = {
    "AdamW": lambda groups, lr, momentum, fused: torch.optim.AdamW(
        groups, lr=lr, betas=(momentum, 0.999), fused=fused
    ),
    "SGD": lambda groups, lr, momentum, fused: torch.optim.SGD(
        groups, lr=lr, momentum=momentum, nesterov=True, fused=fused
    ),
}
FUSED_ON = ("cpu", "cuda")


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Build AdamW or SGD over the trainable parameters; weight decay spares norms and biases."""
    decayed, spared = [], []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                is_norm = isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm)
                (spared if is_norm or name == "bias" else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.optim.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type in FUSED_ON for parameter in (*decayed, *spared))
    return OPTIMIZERS[config.optimizer](groups, config.lr0, config.optim.momentum, fused)


def learning_rate(step: int, steps_per_epoch: int, config: Config) -> float:
    """Return the learning rate of optimiser step `step` (from 0): linear warm-up to lr0, then cosine to lr0 * lrf."""
    total = steps_per_epoch * config.epochs
    warmup = min(round(steps_per_epoch * config.optim.warmup_epochs), total)
    if step < warmup:
        return config.lr0 * (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup - 1, 1)
    return config.lr0 * (config.lrf + (1 - config.lrf) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give every parameter group the learning rate `value`."""
    for group in optimizer.param_groups:
        group["lr"] = value


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients so that their joint L2 norm is at most `limit` (0: leave them); returns the norm before.

    The norm, float32 [], stays on its device: reading it would let every step wait for that.
    """
    return nn.utils.clip_grad_norm_(list(parameters), limit or math.inf)
