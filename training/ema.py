"""Exponential moving average of the weights; the averaged model is the one validated and shipped."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class ModelEMA(Generic[Model]):
    """Averaged copy of a model: ema = d * ema + (1 - d) * weights, with d = decay * (1 - exp(-updates / tau)).

    The ramp lets the first steps, far from any optimum, be forgotten quickly. `decay` 0 keeps a plain copy.
    """

    def __init__(self, model: Model, decay: float, tau: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.tau, self.updates = decay, tau, 0

    @torch.no_grad()
    def update(self, model: Model) -> None:
        """Take one step towards `model`; integer buffers are copied."""
        self.updates += 1
        decay = self.decay * (1 - math.exp(-self.updates / self.tau))
        source = model.state_dict()
        averaged, fresh = [], []
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                averaged.append(value)
                fresh.append(source[name].detach())
            else:
                value.copy_(source[name])
        torch._foreach_lerp_(averaged, fresh, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
