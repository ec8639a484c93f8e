"""Memory stays flat however long a video is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from test_video import probe

from deployment.inference import InferenceRun
from deployment.video import VideoFrame
from models.predictor import Predictor

MEGABYTE = 2**20


class OneBox:
    """A detector that always finds the same and remembers nothing."""

    input_size, names, crop_border, parallel = 64, ("lesion",), False, 2

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.repeat(np.float32([32, 32, 32, 32, 0.87])[None, :, None], len(images), axis=0)


class LongReader:
    """Gives `length` frames, and writes down the process's memory every 1,000."""

    frame_rate, time_base, pixel_aspect = Fraction(25), Fraction(1, 25), Fraction(1)

    def __init__(self, length: int) -> None:
        self.length, self.n_frames = length, length
        self.counts: Counter[str] = Counter()
        self.memory: list[int] = []

    def __iter__(self) -> Iterator[VideoFrame]:
        for k in range(self.length):
            if k % 1000 == 0:
                self.memory.append(psutil.Process().memory_info().rss)
            yield VideoFrame(k, k, np.full((96, 128, 3), k % 256, np.uint8))


def grown_over(length: int, out_dir: Path) -> float:
    """Run over `length` frames; returns the megabytes by which memory grew after the first 2,000."""
    reader = LongReader(length)
    run = InferenceRun(Predictor(OneBox()), out_dir)
    run._stream(reader, "long", "long", Path())  # pyright: ignore[reportArgumentType] - a reader in what it does
    assert run.summary.frames == run.summary.frames_with_detections == length
    return (max(reader.memory[2:]) - reader.memory[2]) / MEGABYTE


@pytest.mark.parametrize("length", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_memory_is_flat(tmp_path: Path, length: int):
    assert grown_over(length, tmp_path) < 20  # a frame is 37 kB: keeping 20,000 of them would take 740 MB, 1,000 37 MB
    assert len(probe(tmp_path / "long.mp4")["times"]) == length
