"""The optimiser, and its learning rate as a pure function of the step: a resumed run needs no scheduler state."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from data_utils.config.sections import Config, OptimSection

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


def build_optimizer(
    model: nn.Module, config: Config, rate_factor: Callable[[str], float] = lambda name: 1.0
) -> torch.optim.Optimizer:
    """Build AdamW or SGD over the parameters that take gradients; weight decay spares norms and biases.

    rate_factor: a parameter's name -> the factor on its learning rate. Parameters of one factor share two groups, with
    decay and without. What is frozen later and gets no gradient is left alone by the optimiser, decay included, and
    needs no group of its own when it begins to learn.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for prefix, module in model.named_modules():
        is_norm = isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                factor = rate_factor(f"{prefix}.{name}")
                for spared in (False, True):  # both exist, in this order
                    groups.setdefault((factor, spared), [])
                groups[factor, is_norm or name == "bias"].append(parameter)
    options = [
        {"params": parameters, "weight_decay": 0.0 if spared else config.optim.weight_decay, "lr_factor": factor}
        for (factor, spared), parameters in groups.items()
    ]
    fused = all(parameter.device.type in FUSED_ON for group in groups.values() for parameter in group)
    return OPTIMIZERS[config.optimizer](options, config.lr0, config.optim.momentum, fused)


def part_rate_factor(name: str, optim: OptimSection, n_backbone_layers: int) -> float:
    """Return the factor on the learning rate of the SRE-YOLO parameter `name`, by the part it belongs to."""
    part, _, rest = name.partition(".")
    if part == "sr_branch":
        return optim.lr_branch
    layer = int(rest.removeprefix("detector.model.").partition(".")[0])
    return optim.lr_backbone if layer < n_backbone_layers else optim.lr_head


def n_frozen_layers(config: Config, epoch: int, n_layers: int) -> int:
    """Return how many of the detector's first layers do not learn in `epoch` (from 0), of `n_layers` in all."""
    if config.stages.train == "branch":
        return n_layers
    thawed = config.optim.unfreeze_epoch is not None and epoch + 1 >= config.optim.unfreeze_epoch
    return 0 if thawed else config.optim.freeze


def learning_rate(step: int, steps_per_epoch: int, config: Config) -> float:
    """Return the learning rate of optimiser step `step` (from 0): linear warm-up to lr0, then cosine to lr0 * lrf."""
    total = steps_per_epoch * config.epochs
    warmup = min(round(steps_per_epoch * config.optim.warmup_epochs), total)
    if step < warmup:
        return config.lr0 * (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup - 1, 1)
    return config.lr0 * (config.lrf + (1 - config.lrf) * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Give every parameter group the learning rate `value`, times the group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("lr_factor", 1.0)  # a checkpoint of an earlier version has none


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale gradients so that their joint L2 norm is at most `limit` (0: leave them); returns the norm before.

    On a GPU the norm stays there: asking for its value would wait for the backward pass. On a CPU it is at hand, and
    gradients that are within the limit, nearly always, are not written to.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    limit = limit or math.inf
    if norm.device.type != "cpu" or not norm <= limit:  # a NaN spreads over all gradients, as it does on a GPU
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


# Exponential moving average of the weights; the averaged model is the one validated and shipped.


Model = TypeVar("Model", bound=nn.Module)


class ModelEMA(Generic[Model]):
    """Averaged copy of a model: ema = d * ema + (1 - d) * weights, with d = decay * (1 - exp(-updates / tau)).

    The ramp lets the first steps, far from any optimum, be forgotten quickly. `decay` 0 keeps a plain copy.
    """

    def __init__(self, model: Model, decay: float, tau: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.tau, self.updates = decay, tau, 0
        self._pairs: tuple[list[Tensor], ...] | None = None

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Take one step towards `model`, the same at every step; integer buffers are copied."""
        self.updates += 1
        decay = self.decay * (1 - math.exp(-self.updates / self.tau))
        if self._pairs is None:
            self._pairs = _paired(self.model, model)
        averaged, fresh, counters, counted = self._pairs
        torch._foreach_lerp_(averaged, fresh, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        if counters:
            torch._foreach_copy_(counters, counted)  # pyright: ignore[reportPrivateImportUsage]


def _paired(averaged: nn.Module, trained: nn.Module) -> tuple[list[Tensor], ...]:
    """Return the float tensors of both models, in one order, then their integer buffers.

    Asking two models for their state takes longer than averaging it. Steps, and loading a state, change tensors in
    place, so the lists stay good.
    """
    source = trained.state_dict()
    pairs = [(value, source[name].detach()) for name, value in averaged.state_dict().items()]
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    integers = [pair for pair in pairs if not pair[0].is_floating_point()]
    return tuple([pair[side] for pair in group] for group in (floats, integers) for side in (0, 1))
