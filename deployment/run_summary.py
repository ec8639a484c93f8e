"""What a run over sources did, and how it says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class RunSummary:
    """Counts of a run. seconds: of the whole work; detector_seconds: of resize, network and NMS, summed over frames.

    detected: frames the detector was run on; the others carry its last boxes on (`--every`).
    """

    frames: int = 0
    detected: int = 0
    frames_with_detections: int = 0
    seconds: float = 0.0
    detector_seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, any_found: bool, detector_seconds: float | None) -> None:
        """Count a frame; detector_seconds: None where the detector was not run on it."""
        self.frames += 1
        self.frames_with_detections += any_found
        if detector_seconds is not None:
            self.detected += 1
            self.detector_seconds += detector_seconds

    @property
    def mean_fps(self) -> float:
        """Frames per second, reading, drawing and writing included; 0 before the first frame."""
        return self.frames / self.seconds if self.seconds else 0.0

    def lines(self) -> list[str]:
        """Return the closing summary, one entry a line."""
        outputs = ", ".join(map(str, self.outputs[:1])) or "none (--save writes annotated copies)"
        more = f" and {len(self.outputs) - 1} more beside it" if len(self.outputs) > 1 else ""
        each = 1000 * self.detector_seconds / self.detected if self.detected else 0.0
        return [
            f"frames                  {self.frames}",
            f"frames with detections  {self.frames_with_detections}",
            f"mean FPS                {self.mean_fps:.1f} (reading, writing included; {each:.1f} ms in the detector)",
            f"output                  {outputs}{more}",
            *(f"note                    {what}: {count}" for what, count in self.counts.items()),
            *(f"skipped                 {reason}" for reason in self.skipped),
        ]
