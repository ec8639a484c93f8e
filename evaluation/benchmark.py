"""Speed and cost of the inference path: batch 1, the SR branch off, the network alone (no reading, no NMS)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

LEAST_ITERATIONS = 10  # measured even when the time allowed is over: a median of fewer says little


@dataclass(frozen=True)
class InferenceSpeed:
    """Time of one forward pass at batch 1. fps is 1000 / median_ms; `threads` are the CPU threads torch used."""

    fps: float
    median_ms: float
    p95_ms: float
    n_iters: int
    threads: int
    device: str
    imgsz: int


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode and give every module back the mode it had, frozen parts included."""
    was_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in was_training:
            module.training = True


def measure_speed(
    model: nn.Module, imgsz: int, n_warmup: int = 50, n_iters: int = 500, max_seconds: float | None = None
) -> InferenceSpeed:
    """Time `model(x, inference=True)` on one float32 frame [1, 3, imgsz, imgsz], on the model's own device.

    Each pass is waited for, and the median counts, so that a hiccup of the machine does not. `max_seconds` ends
    warm-up and measurement early on slow machines (a sixth of it goes to the warm-up), after at least
    `LEAST_ITERATIONS` passes; `n_iters` in the result says how many there were.
    """
    frame = _frame(model, imgsz)
    limit = float("inf") if max_seconds is None else max_seconds
    with eval_mode(model), torch.no_grad():
        _timed_passes(model, frame, n_warmup, limit / 6, at_least=min(n_warmup, 2))
        times = _timed_passes(model, frame, n_iters, limit * 5 / 6, at_least=min(n_iters, LEAST_ITERATIONS))
    median_ms = float(np.median(times)) * 1000
    return InferenceSpeed(
        fps=1000 / median_ms,
        median_ms=median_ms,
        p95_ms=float(np.percentile(times, 95)) * 1000,
        n_iters=len(times),
        threads=torch.get_num_threads(),
        device=_device_name(frame.device),
        imgsz=imgsz,
    )


def measure_fps(
    model: nn.Module, imgsz: int = 640, n_warmup: int = 50, n_iters: int = 500, max_seconds: float | None = None
) -> float:
    """Return frames per second at batch 1; see `measure_speed`."""
    return measure_speed(model, imgsz, n_warmup, n_iters, max_seconds).fps


def measure_gflops(model: nn.Module, imgsz: int = 640) -> float:
    """Count the billions of floating-point operations of one inference pass over a frame of imgsz x imgsz.

    A multiply-add counts as two (the convention behind the published 8.2 of YOLOv8n with one class at 640); only
    convolutions and matrix products are counted, as torch's FlopCounterMode does.
    """
    from torch.utils.flop_counter import FlopCounterMode

    frame = _frame(model, imgsz)
    with eval_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(frame, inference=True)
    return counter.get_total_flops() / 1e9


def _timed_passes(
    model: nn.Module, frame: Tensor, count: int, max_seconds: float, at_least: int
) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + max_seconds
    while len(times) < count and (len(times) < at_least or time.perf_counter() < end):
        start = time.perf_counter()
        model(frame, inference=True)
        _synchronise(frame.device)
        times.append(time.perf_counter() - start)
    return times


def _frame(model: nn.Module, imgsz: int) -> Tensor:
    weights = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, imgsz, imgsz, generator=generator).to(weights.device, weights.dtype)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
