"""Training in several processes (torchrun): who this one is, and what they share. In one process all of it is idle.

Every process computes the loss of its share of the global batch, weighted so that the mean over processes is the loss
of the whole batch; averaging gradients then gives exactly the single process's step. Legend: W number of processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn

from data_utils.errors import EXIT_BAD_INPUT, InputError, ResumableError
from models import hardware

Value = TypeVar("Value")
# A process that fails at a collective call is found at once, by its closed connections and by torchrun. This bound is
# for one that hangs; it leaves time for the first process to score a large validation set alone.
TIMEOUT = timedelta(minutes=30)


def launched() -> bool:
    """Say whether torchrun (or the like) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_main() -> bool:
    """Say whether this process is the one that logs, saves and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def say(text: str) -> None:
    """Print `text` in the main process, flushed, so that it stands before what a later failure says."""
    if is_main():
        print(text, flush=True)


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return W."""
    return dist.get_world_size() if dist.is_initialized() else 1


def join(device: str) -> str:
    """Join the other processes, if any; returns the device of this one, `cuda` becoming `cuda:<local rank>`."""
    if not launched() or dist.is_initialized():
        return device
    if device == "auto":
        device = "cuda" if hardware.n_cuda_devices() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    elif device != "cpu":
        raise InputError(f"--device {device}: with several processes use auto, cpu or cuda (each takes its own GPU)")
    if device != "cpu" and torch.device(device).index >= hardware.n_cuda_devices():
        raise InputError(
            f"--nproc_per_node: PyTorch sees {hardware.n_cuda_devices()} CUDA device(s) here, one is needed for each "
            "process; start fewer, or use --device cpu"
        )
    if device != "cpu":
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=TIMEOUT)
    return device


def leave() -> None:
    """Leave the other processes; the end of a run."""
    if dist.is_initialized():
        dist.destroy_process_group()


def summed(values: Tensor) -> Tensor:
    """Return the sum over processes, a new tensor without gradient."""
    total = values.detach().clone()
    if world_size() > 1:
        _together(lambda: dist.all_reduce(total))
    return total


def greatest(number: int, device: torch.device) -> int:
    """Return the largest number any process has."""
    if world_size() == 1:
        return number
    value = torch.tensor(number, device=device)
    _together(lambda: dist.all_reduce(value, dist.ReduceOp.MAX))
    return int(value)


def share_of_mean(part: Tensor, floor: float = 0.0) -> Tensor | float:
    """Return the factor that turns this process's mean into its share of the mean over the whole batch.

    part: what the local mean was divided by (frames, target scores), a scalar; local and global divisors are at least
    `floor`. The mean over processes of factor * local mean is the global mean.
    """
    if world_size() == 1:
        return 1.0
    total = summed(part)
    return world_size() * part.clamp_min(floor) / total.clamp_min(floor)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over processes, in one message; a missing one counts as zero."""
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _average([parameter.grad for parameter in trained if parameter.grad is not None])


def average_buffers(module: nn.Module) -> None:
    """Replace floating-point buffers (BatchNorm's running statistics) by their mean over processes."""
    if world_size() > 1:
        _average([buffer for buffer in module.buffers() if buffer.is_floating_point()])


def gathered(value: Value) -> list[Value]:
    """Return every process's value, in the order of their numbers; plain values and arrays."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    _together(lambda: dist.all_gather_object(values, value))
    return values


def from_main(make: Callable[[], Value]) -> Value:
    """Let the main process make a value and give it to all.

    What it refuses (InputError, ResumableError) is raised there alone, so that it is said once; the others leave with
    the same exit code. Any other failure ends them through torchrun.
    """
    if world_size() == 1:
        return make()
    held: list[Any] = [None, None]  # the value, or the exit code
    refusal: InputError | ResumableError | None = None
    if rank() == 0:
        try:
            held[0] = make()
        except (InputError, ResumableError) as error:
            refusal, held[1] = error, getattr(error, "exit_code", EXIT_BAD_INPUT)
    _together(lambda: dist.broadcast_object_list(held, src=0))
    if refusal is not None:
        raise refusal
    if held[1] is not None:
        leave_after_main(held[1])
    return held[0]


def leave_after_main(code: int) -> NoReturn:
    """End this process with `code` once the main one, which says why, is gone.

    torchrun stops the others as soon as one has ended, and would cut the main process off before it has spoken.
    """
    with contextlib.suppress(RuntimeError):
        dist.barrier()  # the main process never comes
    raise SystemExit(code)


def _average(tensors: list[Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    _together(lambda: dist.all_reduce(flat))
    flat /= world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _together(collective: Callable[[], Any]) -> None:
    try:
        collective()
    except RuntimeError as error:  # of torch.distributed.DistError, or gloo's own
        reason = str(error).strip().splitlines()[0][:160]
        raise ResumableError(f"another process of this run is gone ({reason}); start all with --resume") from error


# BatchNorm over the whole batch of several training processes, not over each one's share of it.


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
