"""BatchNorm over the whole batch of several training processes, not over each one's share of it."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn


class CPUSyncBatchNorm(nn.BatchNorm2d):
    """What torch's SyncBatchNorm does, which has no CPU version. Same parameters and state under the same names."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise float [B, C, H, W] by mean and variance over B, H, W of all processes; in eval mode BatchNorm."""
        x = input
        if not self.training:
            return super().forward(x)
        sums = torch.cat([x.sum((0, 2, 3)), x.new_tensor([x.numel() / x.shape[1]])])
        total, count = differentiable.all_reduce(sums).split([x.shape[1], 1])
        mean = total / count
        centred = x - mean[:, None, None]  # the mean of squares less the squared mean would lose digits
        variance = differentiable.all_reduce(centred.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), (variance * count / (count - 1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def synchronise_batch_norm(model: Any, device: torch.device) -> Any:
    """Return `model` with its BatchNorm layers made synchronised, in place where it can; alone it stays as it is."""
    if not dist.is_initialized():
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = CPUSyncBatchNorm
    return model
