"""Speed of one backend: a frame as soon as possible, and many frames a second.

Both take decoded frames and give detections: resize, network, suppression.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deployment.backends import open_backend
from deployment.benchmarking.variants import Variant
from deployment.pipeline import ordered_map
from models.predictor import Predictor

WARM_UP = 3


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one frame, all cores on it; network_ms: of these the backend alone. fps: of many at once."""

    median_ms: float
    p95_ms: float
    network_ms: float
    fps: float
    n_frames: int


def measure(variant: Variant, frames: Sequence[NDArray[np.uint8]], n_frames: int) -> Speed:
    """Time `n_frames` frames, going round `frames`, in latency and then in throughput mode."""
    predictor = Predictor(open_backend(variant.path, "cpu", precision=variant.torch_precision))
    turns = [frames[k % len(frames)] for k in range(n_frames)]
    for bgr in turns[:WARM_UP]:
        predictor.predict(bgr)
    whole, network = [], []
    for bgr in turns:
        whole.append(_seconds(lambda bgr=bgr: predictor.predict(bgr)))
        image = predictor.input_of(bgr)[None]
        network.append(_seconds(lambda image=image: predictor.backend(np.ascontiguousarray(image))))
    many = Predictor(open_backend(variant.path, "cpu", throughput=True, precision=variant.torch_precision))
    list(ordered_map(many.predict, iter(turns[:WARM_UP]), many.backend.parallel))
    total = _seconds(lambda: list(ordered_map(many.predict, iter(turns), many.backend.parallel)))
    return Speed(
        median_ms=1000 * float(np.median(whole)),
        p95_ms=1000 * float(np.percentile(whole, 95)),
        network_ms=1000 * float(np.median(network)),
        fps=n_frames / total,
        n_frames=n_frames,
    )


def size_of(path: Path) -> int:
    """Return the bytes of a file, an OpenVINO model's weights included."""
    beside = path.with_suffix(".bin")
    extra = beside.stat().st_size if path.suffix == ".xml" and beside.is_file() else 0
    return path.stat().st_size + extra


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
