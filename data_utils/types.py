"""The records that travel between rooms, checked when they are made.

Legend: N boxes; H, W image height and width in pixels. Arrays are NumPy; x runs right, y runs down, the origin is the
image's top left corner, and a box is the half-open area between two corners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]
IntArray = NDArray[np.integer]
ROUNDING = 1e-6  # what normalised coordinates may exceed [0, 1] by


def _boxes(values: object, dtype: type[np.floating]) -> FloatArray:
    """Return `values` as boxes [N, 4]; any empty array counts as no boxes."""
    boxes = np.asarray(values, dtype=dtype)
    if boxes.size == 0:
        return boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape [N, 4], found {list(boxes.shape)}")
    if not np.isfinite(boxes).all():
        raise ValueError("boxes hold NaN or infinite values")
    return boxes


def _class_ids(values: object) -> IntArray:
    """Return `values` as int64 [N]; a fraction or a negative number is refused."""
    given = np.asarray(values).reshape(-1)
    class_ids = given.astype(np.int64)
    if len(given) and ((class_ids != given).any() or class_ids.min() < 0):
        raise ValueError("class ids must be whole numbers from 0")
    return class_ids


@dataclass(frozen=True, eq=False)
class Annotation:
    """The boxes of one frame.

    boxes_cxcywhn: float64 [N, 4], centre and size over the frame's width and height, in [0, 1].
    class_ids: int64 [N]. crowd: boxes of the same kind around groups of objects that nobody told apart (COCO's
    iscrowd), neither truth nor background; None where there are none.
    """

    boxes_cxcywhn: FloatArray
    class_ids: IntArray
    crowd: Annotation | None = None

    def __post_init__(self) -> None:
        boxes, class_ids = _boxes(self.boxes_cxcywhn, np.float64), _class_ids(self.class_ids)
        if len(boxes) != len(class_ids):
            raise ValueError(f"{len(boxes)} boxes but {len(class_ids)} class ids")
        if (boxes < -ROUNDING).any() or (boxes > 1 + ROUNDING).any():
            raise ValueError("normalised boxes must lie in [0, 1]; are these pixels?")
        object.__setattr__(self, "boxes_cxcywhn", boxes)
        object.__setattr__(self, "class_ids", class_ids)
        if self.crowd is not None and not len(self.crowd):
            object.__setattr__(self, "crowd", None)

    @property
    def is_healthy(self) -> bool:
        """Whether the frame holds neither a box nor a crowd."""
        return not len(self) and self.crowd is None

    def with_boxes(self, change: Callable[[FloatArray], FloatArray]) -> Annotation:
        """Return the annotation with its boxes, and its crowd's, mapped by a function of boxes [N, 4]."""
        crowd = None if self.crowd is None else self.crowd.with_boxes(change)
        return Annotation(change(self.boxes_cxcywhn), self.class_ids, crowd)

    def __len__(self) -> int:
        return len(self.class_ids)

    @staticmethod
    def empty() -> Annotation:
        """Return the annotation of a healthy frame."""
        return Annotation(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Frame:
    """One raw frame: where it lies, what is drawn on it, and whose it is. `group` is what a split never cuts.

    sequence: the video it is of, "" where nobody named it.
    """

    image_path: Path
    annotation: Annotation
    patient_id: str
    group: str
    source: str = "unknown"
    modality: str = "unknown"
    stem: str = ""
    sequence: str = ""

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
        boxes, class_ids = _boxes(self.boxes_xyxy, np.float32), _class_ids(self.class_ids)
        scores = np.asarray(self.scores, dtype=np.float32).reshape(-1)
        if not len(boxes) == len(scores) == len(class_ids):
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores and {len(class_ids)} class ids")
        if not ((scores >= 0) & (scores <= 1)).all():  # false for NaN too
            raise ValueError("scores must lie in [0, 1]")
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
        keep = self.scores.astype(np.float64) > threshold
        return Detections(self.boxes_xyxy[keep], self.scores[keep], self.class_ids[keep])


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One evaluated frame: its truth and what was found, both in pixels of the original frame.

    truth_xyxy: float64 [M, 4]; truth_class_ids: int64 [M]; crowd_xyxy, crowd_class_ids: the same of regions where
    detections do not count (COCO's iscrowd); original_size, input_size: (width, height) in pixels.
    group: what a split never cuts (a patient, unless dataset.group says otherwise); "" when nothing is known of it.
    """

    stem: str
    detections: Detections
    truth_xyxy: FloatArray
    truth_class_ids: IntArray
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    patient_id: str = "unknown"
    extra: dict[str, str] = field(default_factory=dict)
    group: str = ""
    source: str = "unknown"
    modality: str = "unknown"
    crowd_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    crowd_class_ids: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def is_healthy(self) -> bool:
        """Whether the frame holds neither a true box nor a crowd."""
        return not len(self.truth_xyxy) and not len(self.crowd_xyxy)

    def size_in(self, reference: Literal["original", "input", "hr"]) -> tuple[int, int]:
        """Return (width, height) in pixels of the original frame, of the detector's input, or of the HR target."""
        if reference == "hr":
            return 2 * self.input_size[0], 2 * self.input_size[1]
        return self.input_size if reference == "input" else self.original_size
