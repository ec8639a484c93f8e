"""Exponential moving average of the weights; the averaged model is the one validated and shipped."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

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
