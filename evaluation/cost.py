"""Speed and cost: the network alone (no reading, no NMS) at any batch size, the steps around it, and both graphs.

The inference graph is the detector; the training graph is the detector with the SR branch.
"""

from __future__ import annotations

import copy
import importlib.metadata
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from data_utils.processes import available_cores
from data_utils.records import Detections
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


# The proof that inference leaves the SR branch alone: watched while it runs, and run again with the branch deleted.


@dataclass(frozen=True)
class Touched:
    """Of the branch, in one pass: modules called, and parameters and buffers that some operation read."""

    modules: int
    tensors: int


@dataclass(frozen=True)
class BranchProof:
    """What a pass of inference had to do with the branch.

    training: the same watch over a pass that does use the branch; if it saw nothing, neither would the other.
    same_output: the output is equal, bit by bit, with the branch deleted. same_state: all that is deleted with it are
    its own weights.
    """

    n_modules: int
    n_params: int
    inference: Touched
    training: Touched
    same_output: bool
    same_state: bool

    @property
    def holds(self) -> bool:
        """Whether the inference graph has no part of the branch; also where there is no branch."""
        if not self.n_modules:
            return True
        watched = self.training.modules > 0 and (self.training.tensors > 0 or not self.n_params)
        untouched = self.inference == Touched(0, 0)
        return watched and untouched and self.same_output and self.same_state

    def sentence(self) -> str:
        """Return it in words, one line."""
        if not self.n_modules:
            return "The model has no SR branch: training and inference graph are the same."
        if self.holds:
            return (
                f"Inference has no part of the SR branch: it calls none of its {self.n_modules} modules, reads none of "
                f"its {self.n_params:,} parameters, and gives the same output, bit by bit, with the branch deleted."
            )
        return (
            f"NOT SHOWN that inference has no part of the SR branch: it calls {self.inference.modules} of its "
            f"{self.n_modules} modules and reads {self.inference.tensors} of its tensors (training: "
            f"{self.training.modules} and {self.training.tensors}); output with the branch deleted: "
            f"{'equal' if self.same_output else 'another'}, other weights: {'kept' if self.same_state else 'lost'}."
        )


def prove_branch_free(model: nn.Module, frame: Tensor) -> BranchProof:
    """Watch `model(frame, inference=True)`, frame float [1, 3, S, S], for any use of `model.sr_branch`.

    The model is as before afterwards, the mode of each part included.
    """
    branch = getattr(model, "sr_branch", None)
    if not isinstance(branch, nn.Module):
        return BranchProof(0, 0, Touched(0, 0), Touched(0, 0), True, True)
    with eval_mode(model), torch.no_grad():
        with_branch, inference = _watched(model, branch, frame, inference=True)
        _, training = _watched(model, branch, frame, inference=False)
        own = {f"sr_branch.{name}" for name in branch.state_dict()}
        names = set(model.state_dict())
        with _deleted(model):
            left = set(model.state_dict())
            without = model(frame, inference=True)
    return BranchProof(
        n_modules=sum(1 for _ in branch.modules()),
        n_params=sum(parameter.numel() for parameter in branch.parameters()),
        inference=inference,
        training=training,
        same_output=torch.equal(with_branch, without),
        same_state=names - own == left,
    )


class _Reads(TorchDispatchMode):
    """Notes which of some tensors the operations below it are given, by their memory."""

    def __init__(self, watched: list[Tensor]) -> None:
        super().__init__()
        self._places = {tensor.untyped_storage().data_ptr() for tensor in watched if tensor.numel()}
        self.read: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        self.read |= {tensor.untyped_storage().data_ptr() for tensor in given} & self._places
        return func(*args, **(kwargs or {}))


def _watched(model: nn.Module, branch: nn.Module, frame: Tensor, inference: bool) -> tuple[Any, Touched]:
    called: set[int] = set()
    hooks = [
        module.register_forward_pre_hook(lambda module, _inputs: called.add(id(module))) for module in branch.modules()
    ]
    reads = _Reads([*branch.parameters(), *branch.buffers()])
    try:
        with reads:
            output = model(frame, inference=inference)
    finally:
        for hook in hooks:
            hook.remove()
    return output, Touched(len(called), len(reads.read))


@contextmanager
def _deleted(model: nn.Module) -> Iterator[None]:
    branch = model.get_submodule("sr_branch")
    model.register_module("sr_branch", None)
    try:
        yield
    finally:
        model.register_module("sr_branch", branch)


# What evaluate.py reports of a model beside its speed at batch 1, as plain values for JSON.


BATCHED = 8  # frames a pass


def model_costs(
    model: nn.Module,
    imgsz: int,
    n_warmup: int = 50,
    n_iters: int = 500,
    max_seconds: float | None = 20.0,
    batch_size: int = BATCHED,
) -> dict[str, Any]:
    """Measure what evaluate.py adds to the speed at batch 1.

    Speed in batches of `batch_size`, the steps around the network, GFLOPs of the training graph, and whether the
    inference graph is free of the branch. Each timing takes at most half of `max_seconds`.
    """
    half = None if max_seconds is None else max_seconds / 2
    batched = measure_speed(model, imgsz, max(1, n_warmup // batch_size), n_iters, half, batch_size)
    steps = measure_steps(model, imgsz, n_iters=n_iters, max_seconds=half)
    proof = prove_branch_free(model, sample_frames(model, imgsz))
    costs = {
        "fps_batched": batched.fps,
        "fps_batched_size": batch_size,
        "fps_batched_median_ms": batched.median_ms,
        "fps_batched_p5_ms": batched.p5_ms,
        "fps_batched_p95_ms": batched.p95_ms,
        "fps_batched_n_iters": batched.n_iters,
        "steps_frame_size": list(steps.frame_size),
        "steps_n_iters": steps.n_iters,
        "steps_n_detections": steps.n_detections,
        "gflops_training": measure_gflops(model, imgsz, training=True),
        "branch_free": proof.holds,
        "branch_free_because": proof.sentence(),
    }
    for name, step in (("preprocess", steps.preprocess), ("postprocess", steps.postprocess)):
        costs |= {f"{name}_ms": step.median_ms, f"{name}_p5_ms": step.p5_ms, f"{name}_p95_ms": step.p95_ms}
    return costs


# What the branch costs at inference, measured: SRE-YOLO's pass and the bare detector's, in turn.


LEAST_PAIRS = 6  # fewer have no 95 % interval for a median


@dataclass(frozen=True)
class TimeRatio:
    """SRE-YOLO's time over the bare detector's: median over pairs of passes, with its 95 % interval.

    The interval holds whatever the distribution of the times (see `median_interval`), hiccups of the machine included.
    """

    ratio: float
    low: float
    high: float
    n_pairs: int
    model_ms: float
    detector_ms: float

    @property
    def equal(self) -> bool:
        """Whether the interval contains 1: no difference is seen."""
        return self.low <= 1 <= self.high

    def sentence(self) -> str:
        """Return it in words, one line."""
        seen = "no difference is seen" if self.equal else "a DIFFERENCE"
        return (
            f"SRE-YOLO takes {self.model_ms:.2f} ms a frame, the detector alone {self.detector_ms:.2f} ms; ratio "
            f"{self.ratio:.4f} [{self.low:.4f}, {self.high:.4f}] over {self.n_pairs} alternating pairs: {seen}."
        )


def time_beside_detector(
    model: Any, frame: Tensor, n_pairs: int = 200, n_warmup: int = 10, max_seconds: float | None = None
) -> TimeRatio:
    """Time `model(frame, inference=True)` beside a copy of its detector that knows nothing of taps or a branch.

    frame: float [B, 3, S, S]. Which of the two goes first alternates, so that what the second finds warm is shared out.
    `max_seconds` ends it early, after at least `LEAST_PAIRS` pairs; raises ValueError for fewer than those.
    """
    if n_pairs < LEAST_PAIRS:
        raise ValueError(f"n_pairs = {n_pairs}: at least {LEAST_PAIRS}")
    detector: nn.Module = copy.deepcopy(model.backbone.detector)
    passes: list[Callable[[], object]] = [lambda: model(frame, inference=True), lambda: detector(frame)]
    times: list[tuple[float, float]] = []
    with eval_mode(model), eval_mode(detector), torch.no_grad():
        for _ in range(n_warmup):
            for run in passes:
                run()
        end = time.perf_counter() + (math.inf if max_seconds is None else max_seconds)
        while len(times) < n_pairs and (len(times) < LEAST_PAIRS or time.perf_counter() < end):
            order = (0, 1) if len(times) % 2 == 0 else (1, 0)
            seconds = {k: seconds_of(passes[k], frame.device) for k in order}
            times.append((seconds[0], seconds[1]))
    ours, theirs = np.array(times).T
    median, low, high = median_interval(ours / theirs)
    return TimeRatio(median, low, high, len(times), float(np.median(ours)) * 1e3, float(np.median(theirs)) * 1e3)


def median_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the median of at least six independent values and its 95 % interval from order statistics.

    As many values lie below the true median as heads fall in n tosses of a coin (Conover, Practical Nonparametric
    Statistics, section 3.2), so the k-th smallest and k-th largest enclose it with at least 95 %.
    """
    n, tail, k = len(values), 0.0, 0
    while tail + math.comb(n, k) / 2**n <= 0.025:
        tail += math.comb(n, k) / 2**n
        k += 1
    if k == 0:
        raise ValueError(f"{n} values have no 95 % interval for their median")
    ordered = np.sort(values)
    return float(np.median(values)), float(ordered[k - 1]), float(ordered[n - k])


# What a benchmark's figures were taken on, as plain values for its JSON file.


VERSIONS = ("torchvision", "ultralytics", "numpy")
THREADING = ("GOMP_SPINCOUNT", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")


def describe_machine(device: torch.device, command: str) -> dict[str, Any]:
    """Return date, `python -m <command>` as called, versions, processor, load, device, threads and environment."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(["python", "-m", command, *sys.argv[1:]]),
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__} | {name: importlib.metadata.version(name) for name in VERSIONS},
        "processor": _processor(),
        "cores": available_cores(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "environment": {name: os.environ.get(name) for name in THREADING},
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
