"""What the parts of a run share: its options, its predictor, where things go, what is counted."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.types import Detections
from data_utils.videos.video_decoding import usable_rate
from deployment.detection_files import DetectionFiles, OutputStems
from deployment.run_summary import RunSummary
from deployment.tracking import AlertRule
from models.predictor import Predictor


@dataclass(frozen=True)
class RunOptions:
    """What to do with detections besides drawing them.

    fps: frame rate of videos, over what they state. every: detect in each n-th frame of a video, its boxes staying on
    until the next. track: follow detections through videos and show those the rule raises; images are not affected.
    conf: score that begins a track; the predictor's own should then be lower (deployment/tracking.py).
    Raises InputError for an unusable value.
    """

    show: bool = False
    fps: float | None = None
    every: int = 1
    track: AlertRule | None = None
    conf: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and usable_rate(self.fps) is None:
            raise InputError(f"--fps {self.fps}: not a usable frame rate")
        if self.every < 1:
            raise InputError(f"--every {self.every}: must be at least 1")


@dataclass(frozen=True, eq=False)
class RunParts:
    """A run's parts. out_dir: of annotated copies, or None; files: of detections as text, or None.

    stems: those of what is written, given as each picture or video comes.
    """

    predictor: Predictor
    options: RunOptions
    out_dir: Path | None
    files: DetectionFiles | None
    summary: RunSummary
    stems: OutputStems = field(default_factory=OutputStems)

    @property
    def conf(self) -> float:
        """The score from which a detection counts."""
        return self.predictor.conf if self.options.conf is None else self.options.conf

    def detect(self, bgr: NDArray[np.uint8]) -> tuple[Detections, float]:
        """Detect in a frame; returns the detector's seconds too. May be called from several threads."""
        start = time.perf_counter()
        found = self.predictor.predict(bgr)
        return found, time.perf_counter() - start
