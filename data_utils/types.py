"""The records that travel between rooms, checked when they are made.

Legend: N boxes; H, W image height and width in pixels. Arrays are NumPy; x runs right, y runs down, the origin is the
image's top left corner, and a box is the half-open area between two corners.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Annotation:
    """The boxes of one frame.

    boxes_cxcywhn: float64 [N, 4], centre and size over the frame's width and height, in [0, 1].
    class_ids: int64 [N].
    """

    boxes_cxcywhn: FloatArray
    class_ids: IntArray

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_cxcywhn, dtype=np.float64).reshape(-1, 4)
        class_ids = np.asarray(self.class_ids, dtype=np.int64).reshape(-1)
        if len(boxes) != len(class_ids):
            raise ValueError(f"{len(boxes)} boxes but {len(class_ids)} class ids")
        object.__setattr__(self, "boxes_cxcywhn", boxes)
        object.__setattr__(self, "class_ids", class_ids)

    def __len__(self) -> int:
        return len(self.class_ids)

    @staticmethod
    def empty() -> Annotation:
        """Return the annotation of a healthy frame."""
        return Annotation(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Frame:
    """One raw frame: where it lies, what is drawn on it, and whose it is. `group` is what a split never cuts."""

    image_path: Path
    annotation: Annotation
    patient_id: str
    group: str
    source: str = "unknown"
    modality: str = "unknown"
    stem: str = ""

    def __post_init__(self) -> None:
        if not self.patient_id or not self.group:
            raise ValueError(f"{self.image_path}: a frame needs a patient and a group")
        if not self.stem:
            object.__setattr__(self, "stem", self.image_path.stem)


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one frame, best score first.

    boxes_xyxy: float32 [N, 4], corners in pixels of the frame given in.
    scores: float32 [N] in [0, 1]. class_ids: int64 [N].
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def __post_init__(self) -> None:
        boxes = np.asarray(self.boxes_xyxy, dtype=np.float32).reshape(-1, 4)
        scores = np.asarray(self.scores, dtype=np.float32).reshape(-1)
        class_ids = np.asarray(self.class_ids, dtype=np.int64).reshape(-1)
        if not len(boxes) == len(scores) == len(class_ids):
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(class_ids)} class ids")
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError("detections hold NaN or infinite values")
        order = np.argsort(-scores, kind="stable")
        object.__setattr__(self, "boxes_xyxy", boxes[order])
        object.__setattr__(self, "scores", scores[order])
        object.__setattr__(self, "class_ids", class_ids[order])

    def __len__(self) -> int:
        return len(self.scores)

    @staticmethod
    def empty() -> Detections:
        """Return no detections."""
        return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64))

    def above(self, threshold: float) -> Detections:
        """Return the detections whose score is greater than `threshold`."""
        keep = self.scores > threshold
        return Detections(self.boxes_xyxy[keep], self.scores[keep], self.class_ids[keep])


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One evaluated frame: its truth and what was found, both in pixels of the original frame.

    truth_xyxy: float64 [M, 4]; truth_class_ids: int64 [M]; original_size, input_size: (width, height) in pixels.
    """

    stem: str
    detections: Detections
    truth_xyxy: FloatArray
    truth_class_ids: IntArray
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    patient_id: str = "unknown"
    extra: dict[str, str] = field(default_factory=dict)
