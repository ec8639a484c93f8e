"""The four things whose speed is compared: ultralytics' trainer, ours, the bare steps and the loader alone.

Each returns images/s of one round, its warm-up left out, and on CUDA the peak of allocated memory. They run in child
processes (see training/benchmarks/speed.py).
"""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.dataset import SREYOLODataset
from data_utils.loader import EpochLoader, make_loader
from evaluation.passes.predict import as_float
from models.precision import autocast
from models.sre_yolo import SREYOLO, compile_detector
from training.benchmarks.ultralytics_side import train_ultralytics
from training.loss import SREYOLOLoss
from training.optim import build_optimizer
from training.trainer import Trainer

KEPT_BATCHES = 12  # different batches that the bare steps go round, already on the device
WARMUP_STEPS = 6


@dataclass(frozen=True)
class Job:
    """One side in one round: what to measure on which copied set (see `copy_frames`), and for how long.

    config: settings of the copy; its epochs are what a trainer trains, the first of them to warm up. precision: fp32 or
    bf16. seconds: how long the bare steps and the loader are timed at least.
    """

    side: str
    config: Config
    split: int
    folder: Path
    device: str
    precision: str
    seconds: float
    threads: int


def measure(job: Job) -> dict[str, Any]:
    """Run one side once; returns {"images_per_s", "peak_mb" (None on a CPU), "threads" it ended with}."""
    torch.set_num_threads(job.threads)
    cuda = job.device == "cuda"
    gc.collect()  # loader processes and tensors of the round before
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with contextlib.redirect_stdout(io.StringIO()):
        images_per_s = SIDES[job.side](job)
    peak_mb = round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None
    return {"images_per_s": images_per_s, "peak_mb": peak_mb, "threads": torch.get_num_threads()}


def ultralytics_epochs(job: Job, threads: int | None = None) -> float:
    """Train with ultralytics' trainer; validation and saving are left out. threads: see `train_ultralytics`."""
    with tempfile.TemporaryDirectory(dir=job.folder) as scratch:
        result = train_ultralytics(
            job.config, job.split, job.folder, Path(scratch).name, precision=job.precision, device=job.device,
            save=False, threads=threads,
        )  # fmt: skip
    return _after_warmup(result["images_per_s"])


def ultralytics_epochs_in_our_threads(job: Job) -> float:
    """Train with ultralytics' trainer in as many threads as ours has."""
    return ultralytics_epochs(job, job.threads)


def our_epochs(job: Job) -> float:
    """Train with our trainer; the log's images/s leave validation and saving out."""
    config = override_config(job.config, [
        f"run.precision={job.precision}", f"run.val_every={job.config.epochs + 1}", f"patience={job.config.epochs}",
    ])  # fmt: skip
    result = Trainer(config, job.split, device=job.device, wandb_off=True).fit()
    with open(Path(result["run_dir"]) / "log.csv", encoding="utf-8", newline="") as file:
        return _after_warmup([float(row["images_per_s"]) for row in csv.DictReader(file)])


def bare_steps(job: Job) -> float:
    """Forward, loss, backward and optimiser step, and nothing else, on float batches that lie on the device.

    The same model, loss, optimiser, precision, memory layout and (with run.compile) compiled detector as ours. Left
    out are loading, copying and scaling of images, clipping, weight averaging, the finite-loss check, and the log.
    """
    config, device = job.config, torch.device(job.device)
    layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
    batches = _batches_on(device, layout, job)
    torch.manual_seed(config.seed)
    model = SREYOLO(config).to(device, memory_format=layout).train()  # pyright: ignore[reportCallIssue]
    if config.run.compile:
        compile_detector(model, device)
    criterion = SREYOLOLoss(model, config.c1, config.c2, config.c3, config.c4, config.loss.loss_scale)
    optimizer = build_optimizer(model, config)

    def step(images: Tensor, labels: Tensor) -> None:
        with autocast(job.precision, device):
            output = model(images)
        criterion(output, {"labels": labels})["total_loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for images, labels in itertools.islice(itertools.cycle(batches), WARMUP_STEPS):
        step(images, labels)

    def go_round() -> int:
        for images, labels in batches:
            step(images, labels)
        return len(batches) * config.batch_size

    return _timed(go_round, job)


def loader_alone(job: Job) -> float:
    """Go through epochs of the training loader and do nothing with the batches; one epoch warms it up."""
    loader = _loader(job)
    epochs = itertools.count()

    def epoch() -> int:
        loader.set_epoch(next(epochs))
        return sum(len(batch["img_path"]) for batch in loader)

    epoch()
    return _timed(epoch, job)


SIDES: dict[str, Callable[[Job], float]] = {
    "ultralytics": ultralytics_epochs,
    "ultralytics, our threads": ultralytics_epochs_in_our_threads,
    "ours": our_epochs,
    "bare": bare_steps,
    "loader": loader_alone,
}


def _loader(job: Job) -> EpochLoader:
    config = job.config
    dataset = SREYOLODataset(config.dataset.split_list(job.split, "train"), None, True, config=config, uint8=True)
    return make_loader(dataset, config.batch_size, workers=config.run.workers, shuffle=True, seed=config.seed)


def _batches_on(device: torch.device, layout: torch.memory_format, job: Job) -> list[tuple[Tensor, Tensor]]:
    batches = [
        (as_float(batch["lr_image"], device).contiguous(memory_format=layout), batch["labels"].to(device))
        for batch in _loader(job)
        if len(batch["img_path"]) == job.config.batch_size
    ]
    return batches[:KEPT_BATCHES]


def _timed(work: Callable[[], int], job: Job) -> float:
    """Repeat `work` for at least `job.seconds`; it returns its number of images. Returns images/s."""
    _settle(job)
    images, started = 0, time.perf_counter()
    while time.perf_counter() - started < job.seconds:
        images += work()
        _settle(job)
    return images / (time.perf_counter() - started)


def _settle(job: Job) -> None:
    if job.device == "cuda":
        torch.cuda.synchronize()


def _after_warmup(images_per_s: list[float]) -> float:
    """Images/s over all epochs but the first, equal in images."""
    return statistics.harmonic_mean(images_per_s[1:])
