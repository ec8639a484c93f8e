"""What the branch costs at inference, measured: SRE-YOLO's pass and the bare detector's, in turn."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.benchmark import eval_mode, seconds_of

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
