"""One line of the branch's ledger: cost, memory, speed and signal of one branch shape, measured where it is called.

Legend: B batch; S input side. Every measurement uses the same kept batches: the first of the training frames' epoch 0.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.dataset import Batch, SREYOLODataset, collate
from data_utils.loader import make_loader
from evaluation.child_process import Report
from evaluation.cost import eval_mode, measure_gflops
from evaluation.image_quality import bicubic_x2, psnr
from evaluation.passes.predict import as_float
from models.precision import autocast
from models.sr_branch import windows_of
from models.sre_yolo import SREYOLO
from training.loss import SREYOLOLoss, mean_absolute_error
from training.optim import ModelEMA, build_optimizer, clip_gradients, learning_rate, set_learning_rate

KEPT_BATCHES = 26
WARMUP_STEPS, MEMORY_STEPS, GRADIENT_BATCHES = 2, 3, 4
STEPS_A_TURN = {"cpu": 1, "cuda": 10}
MIB = 2**20



@dataclass(frozen=True)
class RowJob:
    """A branch shape to measure: the run's settings, which hold it; `steps` of training before PSNR is taken."""

    config: Config
    split: int
    device: str
    precision: str
    steps: int
    turns: int


class Steps:
    """Real training steps (forward, loss, backward, clipping, optimiser, averaging) on batches already at hand."""

    def __init__(self, job: RowJob, config: Config) -> None:
        self.config, self.precision, self.device = config, job.precision, torch.device(job.device)
        torch.manual_seed(config.seed)
        layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
        self.model = SREYOLO(config).to(self.device, memory_format=layout).train()  # pyright: ignore[reportCallIssue]
        self.criterion = SREYOLOLoss(self.model, config.c1, config.c2, config.c3, config.c4, config.loss.loss_scale)
        self.optimizer = build_optimizer(self.model, config)
        self.ema = ModelEMA(self.model, config.optim.ema_decay, config.optim.ema_tau)
        self.done = 0

    def run(self, batch: Batch) -> float:
        """Take one step; returns its seconds."""
        started = self._now()
        targets = {"labels": batch["labels"].to(self.device)}
        windows = self._windows(batch)
        if self.config.has_branch:
            targets["hr_image"] = self._target(batch, windows)
        with autocast(self.precision, self.device):
            output = self.model(self._input(batch), windows=windows)
        self.criterion(output, targets)["total_loss"].backward()
        clip_gradients(self.model.parameters(), self.config.optim.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.done += 1
        return self._now() - started

    def tap_gradients(self, batch: Batch) -> dict[int, float]:
        """Return {layer: L2 norm of dL_SR/dmap over the batch}, L_SR unweighted and alone, on what a step trains on."""
        assert self.model.sr_branch is not None
        windows = self._windows(batch)
        with autocast(self.precision, self.device):
            with torch.no_grad():
                features = self.model.backbone(self._input(batch))[1]
            taps = {k: features[k].detach().requires_grad_() for k in self.model.backbone.hook_layers}
            output = self.model.sr_branch(*taps.values(), windows=windows)
        error = mean_absolute_error(output.float(), self._target(batch, windows))
        gradients = torch.autograd.grad(error, list(taps.values()))
        return {k: float(gradient.float().norm()) for k, gradient in zip(taps, gradients, strict=True)}

    def _windows(self, batch: Batch) -> Any:
        return windows_of(self.config, len(batch["img_path"]), self.done) if self.config.has_branch else None

    def _target(self, batch: Batch, windows: Any) -> Tensor:
        assert "hr_image" in batch
        hr_image = batch["hr_image"] if windows is None else windows.target(batch["hr_image"])
        return as_float(hr_image, self.device)

    def _input(self, batch: Batch) -> Tensor:
        images = as_float(batch["lr_image"], self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.config.run.channels_last else images

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def measure_row(job: RowJob, report: Report) -> None:
    """Report, each as soon as it is known: cost, on CUDA memory, speed beside branch-free training, then signal."""
    report(measure_cost(job.config))
    if job.device == "cuda":
        measure_memory(job, report)
    batches = kept_batches(job, min(KEPT_BATCHES, max(job.steps, WARMUP_STEPS)))
    if job.turns:
        report(measure_speed(job, batches))
    if job.steps:
        report(measure_signal(job, batches))


def measure_cost(config: Config) -> dict[str, Any]:
    """Count the branch's parameters and its forward GFLOPs (a multiply-add is two) on one whole frame, and the
    detector's; of a window, also what is decoded of it in training.
    """
    from torch.utils.flop_counter import FlopCounterMode

    model = SREYOLO(config)
    assert model.sr_branch is not None
    detector = measure_gflops(model, config.imgsz_lr)
    channels, strides = model.backbone.get_hook_channels(), model.backbone.get_hook_strides()
    side, layers = config.imgsz_lr, model.backbone.hook_layers
    taps = [torch.empty(1, channels[k], side // strides[k], side // strides[k], device="meta") for k in layers]
    branch = model.sr_branch.to("meta")
    gflops = []
    for windows in (None, windows_of(config, 1, 0)):
        with FlopCounterMode(display=False) as counter:
            branch(*taps, windows=windows)
        gflops.append(counter.get_total_flops() / 1e9)
    return {"branch_params": model.count_params()["sr_branch"], "branch_gflops": gflops[0],
            "branch_gflops_step": gflops[1], "detector_gflops": detector}  # fmt: skip


def measure_speed(job: RowJob, batches: list[Batch]) -> dict[str, Any]:
    """Time steps with and without the branch in turn; medians over the turns, their ratio, and images/s."""
    sides = [Steps(job, job.config), Steps(job, without_branch(job.config))]
    seconds: list[list[float]] = [[], []]
    for turn in range(-WARMUP_STEPS, job.turns):
        for steps, times in zip(sides, seconds, strict=True):
            taken = [steps.run(batches[steps.done % len(batches)]) for _ in range(STEPS_A_TURN[job.device])]
            if turn >= 0:
                times.append(statistics.median(taken))
    with_branch, without = map(statistics.median, seconds)
    size = job.config.batch_size
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    return {"step_ratio": with_branch / without, "step_ratio_lowest": min(ratios), "step_ratio_highest": max(ratios),
            "images_per_s": size / with_branch, "images_per_s_without": size / without}  # fmt: skip


def measure_signal(job: RowJob, batches: list[Batch]) -> dict[str, Any]:
    """Train for `job.steps`; PSNR in dB of whole validation frames, bicubic beside it, and the gradient at the taps."""
    config = override_config(job.config, ["epochs=1", "optim.warmup_epochs=0.1"])
    steps = Steps(job, config)
    for index in range(job.steps):
        set_learning_rate(steps.optimizer, learning_rate(index, job.steps, config))
        steps.run(batches[index % len(batches)])
    scores = [_validation_psnr(steps, batch) for batch in validation_batches(job)]
    ours, bicubic = (float(torch.cat(each).mean()) for each in zip(*scores, strict=True))
    norms = [steps.tap_gradients(batch) for batch in batches[:GRADIENT_BATCHES]]
    layers = config.sr_layers
    means = [statistics.mean(norm[layer] for norm in norms) for layer in layers]
    return {"psnr": ours, "psnr_bicubic": bicubic, "grad_shallow": means[0], "grad_deep": means[1]}


def measure_memory(job: RowJob, report: Report) -> None:
    """Report the peak memory in MiB of a few steps: on CUDA allocated, on a CPU what the process gained since before
    the model was built. On a CPU to be called in a fresh process: the peak is that of the process's whole life.
    """
    batch = kept_batches(job, 1)[0]
    if job.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = 0.0 if job.device == "cuda" else _resident_mib("VmRSS")
    steps = Steps(job, job.config)
    for _ in range(MEMORY_STEPS):
        steps.run(batch)
    peak = torch.cuda.max_memory_allocated() / MIB if job.device == "cuda" else _resident_mib("VmHWM")
    report({"peak_mib": peak - before})


def kept_batches(job: RowJob, count: int) -> list[Batch]:
    """Read the first `count` training batches of epoch 0, augmented, in memory (uint8)."""
    config = job.config
    paths = config.dataset.split_list(job.split, "train")
    frames = SREYOLODataset(paths, config.dataset.hr_images, augment=True, config=config, uint8=True)
    loader = make_loader(frames, config.batch_size, workers=0, shuffle=True, seed=config.seed, drop_last=True)
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


def validation_batches(job: RowJob) -> Iterator[Batch]:
    """Yield `run.sr_log_frames` validation frames, evenly spread over their list."""
    config = job.config
    paths = config.dataset.split_list(job.split, "val")
    frames = SREYOLODataset(paths, config.dataset.hr_images, config=config, uint8=True)
    chosen = np.linspace(0, len(frames) - 1, min(max(config.run.sr_log_frames, 1), len(frames))).round().astype(int)
    for first in range(0, len(chosen), 4):
        yield collate([frames[int(index)] for index in chosen[first : first + 4]])


def without_branch(config: Config) -> Config:
    """Return the settings of plain detector training."""
    return override_config(config, ["sr_decoder=none"])


@torch.no_grad()
def _validation_psnr(steps: Steps, batch: Batch) -> tuple[Tensor, Tensor]:
    assert "hr_image" in batch
    lr_image, target = as_float(batch["lr_image"], steps.device), as_float(batch["hr_image"], steps.device)
    with eval_mode(steps.model), autocast(steps.precision, steps.device):
        output = steps.model(lr_image)
    assert isinstance(output, dict)
    return psnr(output["sr_output"].clamp(0, 1), target), psnr(bicubic_x2(lr_image), target)


def _resident_mib(field: str) -> float:
    """Return this process's resident memory in MiB: now (VmRSS) or at its highest (VmHWM)."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    import resource  # not on Windows

    # Only the highest is to be had; a parent's is not inherited here, as it would be on Linux.
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest / MIB if sys.platform == "darwin" else highest / 1024
