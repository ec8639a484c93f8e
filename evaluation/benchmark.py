"""Speed and cost: the network alone (no reading, no NMS) at any batch size, the steps around it, and both graphs.

The inference graph is the detector; the training graph is the detector with the SR branch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_utils.types import Detections
from models.predictor import DEFAULT_CONF, DEFAULT_IOU, DEFAULT_MAX_DET, map_to_frame, postprocess, preprocess

LEAST_ITERATIONS = 10  # measured even when the time allowed is over: a median of fewer says little


@dataclass(frozen=True)
class InferenceSpeed:
    """Time of one forward pass over `batch_size` frames: the median, and what 5 % and 95 % of the passes stay below.

    fps is batch_size * 1000 / median_ms; `threads` are the CPU threads torch used.
    """

    fps: float
    median_ms: float
    p95_ms: float
    n_iters: int
    threads: int
    device: str
    imgsz: int
    p5_ms: float
    batch_size: int


@dataclass(frozen=True)
class StepTime:
    """Milliseconds that one step takes for one frame: the median, and what 5 % and 95 % of the times stay below."""

    median_ms: float
    p5_ms: float
    p95_ms: float


@dataclass(frozen=True)
class StepTimes:
    """The three steps from a frame to its detections, each waited for; see `measure_steps`."""

    preprocess: StepTime
    network: StepTime
    postprocess: StepTime
    n_iters: int
    frame_size: tuple[int, int]
    n_detections: int


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
    model: nn.Module,
    imgsz: int,
    n_warmup: int = 50,
    n_iters: int = 500,
    max_seconds: float | None = None,
    batch_size: int = 1,
) -> InferenceSpeed:
    """Time `model(x, inference=True)` on float32 frames [batch_size, 3, imgsz, imgsz], on the model's own device.

    Each pass is waited for, and the median counts, so that a hiccup of the machine does not. `max_seconds` ends
    warm-up and measurement early on slow machines (a sixth of it goes to the warm-up), after at least
    `LEAST_ITERATIONS` passes; `n_iters` in the result says how many there were.
    """
    frame = sample_frames(model, imgsz, batch_size)
    limit = float("inf") if max_seconds is None else max_seconds
    with eval_mode(model), torch.no_grad():
        _timed_passes(model, frame, n_warmup, limit / 6, at_least=min(n_warmup, 2))
        times = _timed_passes(model, frame, n_iters, limit * 5 / 6, at_least=min(n_iters, LEAST_ITERATIONS))
    step = _step_time(times)
    return InferenceSpeed(
        fps=batch_size * 1000 / step.median_ms,
        median_ms=step.median_ms,
        p95_ms=step.p95_ms,
        n_iters=len(times),
        threads=torch.get_num_threads(),
        device=_device_name(frame.device),
        imgsz=imgsz,
        p5_ms=step.p5_ms,
        batch_size=batch_size,
    )


def measure_fps(
    model: nn.Module, imgsz: int = 640, n_warmup: int = 50, n_iters: int = 500, max_seconds: float | None = None
) -> float:
    """Return frames per second at batch 1; see `measure_speed`."""
    return measure_speed(model, imgsz, n_warmup, n_iters, max_seconds).fps


def measure_steps(
    model: nn.Module,
    imgsz: int,
    frame: NDArray[np.uint8] | None = None,
    n_iters: int = 100,
    max_seconds: float | None = None,
) -> StepTimes:
    """Time a frame's way to its detections in three steps, with the code that infer.py runs.

    preprocess: resize, float, to the device. network: the forward pass at batch 1. postprocess: to the host, scores
    above infer.py's confidence, NMS, boxes to frame pixels; it takes longer the more there is to suppress. frame:
    uint8 [H, W, 3] BGR; by default a soft colour pattern of twice the input side. A tenth of the passes warm up.
    """
    frame = _pattern(2 * imgsz) if frame is None else frame
    weights = next(model.parameters())
    size = (frame.shape[1], frame.shape[0])
    times: list[list[float]] = []
    found = Detections.empty()
    warm_up = max(1, n_iters // 10)
    end = time.perf_counter() + (float("inf") if max_seconds is None else max_seconds)
    with eval_mode(model), torch.no_grad():
        while len(times) < warm_up + n_iters and (len(times) < warm_up + 3 or time.perf_counter() < end):
            marks = [time.perf_counter()]
            batch = torch.from_numpy(preprocess(frame, imgsz)[None]).to(weights.device, weights.dtype)
            _mark(marks, weights.device)
            raw = model(batch, inference=True)
            _mark(marks, weights.device)
            kept = postprocess(raw[0].float().cpu().numpy(), DEFAULT_CONF, DEFAULT_IOU, DEFAULT_MAX_DET)
            found = map_to_frame(kept, (imgsz, imgsz), size)
            _mark(marks, weights.device)
            times.append(list(np.diff(marks)))
    measured = np.array(times[warm_up:])
    before, network, after = (_step_time(column) for column in measured.T)
    return StepTimes(before, network, after, len(measured), size, len(found))


def measure_gflops(model: nn.Module, imgsz: int = 640, training: bool = False) -> float:
    """Count the billions of floating-point operations of one forward pass over a frame of imgsz x imgsz.

    training: of the training graph, the branch included; the backward pass (about twice as much again) is not counted.
    A multiply-add counts as two (the convention behind the published 8.2 of YOLOv8n with one class at 640); only
    convolutions and matrix products are counted, as torch's FlopCounterMode does.
    """
    from torch.utils.flop_counter import FlopCounterMode

    frame = sample_frames(model, imgsz)
    with eval_mode(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(frame, inference=not training)
    return counter.get_total_flops() / 1e9


def _timed_passes(
    model: nn.Module, frame: Tensor, count: int, max_seconds: float, at_least: int
) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + max_seconds
    while len(times) < count and (len(times) < at_least or time.perf_counter() < end):
        times.append(seconds_of(lambda: model(frame, inference=True), frame.device))
    return times


def _step_time(seconds: Sequence[float] | NDArray[np.floating]) -> StepTime:
    low, median, high = (float(value) * 1000 for value in np.percentile(seconds, [5, 50, 95]))
    return StepTime(median, low, high)


def _mark(marks: list[float], device: torch.device) -> None:
    _synchronise(device)
    marks.append(time.perf_counter())


def sample_frames(model: nn.Module, imgsz: int, batch_size: int = 1) -> Tensor:
    """Return random frames, float [batch_size, 3, imgsz, imgsz] in [0, 1], on the model's device and of its type."""
    weights = next(model.parameters())
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch_size, 3, imgsz, imgsz, generator=generator).to(weights.device, weights.dtype)


def _pattern(side: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Time one call, what it gave the device to do included."""
    start = time.perf_counter()
    run()
    _synchronise(device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
