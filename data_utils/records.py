"""The records that travel between rooms, checked when they are made.

Legend: N boxes; H, W image height and width in pixels. Arrays are NumPy; x runs right, y runs down, the origin is the
image's top left corner, and a box is the half-open area between two corners.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


# Box arithmetic. Every function takes and returns NumPy arrays [N, 4] and leaves its input as it is.
#
# xyxy: corners; cxcywhn: centre and size over image width and height. Normalised boxes do not change under a plain
# (non-letterbox) resize, so mapping a frame to the model's input and back is a scaling of the xyxy boxes alone.


SIZE_SIDES = (32, 96)  # pixels: small is below 32x32, medium below 96x96 (COCO's buckets, and the paper's)
# Of the area: a box of exactly 32x32 reaches the bucket above, although its label file rounds, as six decimals do.
SIZE_TOLERANCE = 1e-4


def cxcywhn_to_xyxy(boxes_cxcywhn: FloatArray, width: float, height: float) -> FloatArray:
    """Turn normalised centre boxes [N, 4] into corners in pixels of a `width` x `height` image, float64 [N, 4]."""
    centres, sizes = np.split(np.asarray(boxes_cxcywhn, dtype=np.float64).reshape(-1, 4), 2, axis=1)
    return np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1) * _scale(width, height)


def xyxy_to_cxcywhn(boxes_xyxy: FloatArray, width: float, height: float) -> FloatArray:
    """Turn corners in pixels of a `width` x `height` image into normalised centre boxes, float64 [N, 4]."""
    low, high = np.split(np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4) / _scale(width, height), 2, axis=1)
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def scale_xyxy(boxes_xyxy: FloatArray, from_size: tuple[int, int], to_size: tuple[int, int]) -> FloatArray:
    """Map corners between two plain-resized copies of a frame; sizes are (width, height) in pixels."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return boxes * (_scale(*to_size) / _scale(*from_size))


def clip_xyxy(boxes_xyxy: FloatArray, width: float, height: float) -> FloatArray:
    """Move corners outside a `width` x `height` image onto its edge."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return np.clip(boxes, 0, _scale(width, height))


def crop_cxcywhn(
    boxes_cxcywhn: FloatArray, size: tuple[int, int], region_xyxy: tuple[int, int, int, int]
) -> FloatArray:
    """Map normalised boxes [N, 4] of a frame of `size` (width, height) pixels to a region of it that holds them all."""
    x1, y1, x2, y2 = region_xyxy
    moved = cxcywhn_to_xyxy(boxes_cxcywhn, *size) - np.array([x1, y1, x1, y1])
    return xyxy_to_cxcywhn(clip_xyxy(moved, x2 - x1, y2 - y1), x2 - x1, y2 - y1)


def area_xyxy(boxes_xyxy: FloatArray) -> FloatArray:
    """Return the areas [N] in square pixels; an inverted box has area 0."""
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)


def size_bounds(sides: Sequence[float]) -> list[float]:
    """Return the area, in square pixels, from which a box is in the bucket above each side; SIZE_TOLERANCE below it.

    The one place that says where sizes part, for preparing and for evaluation.
    """
    return [side**2 * (1 - SIZE_TOLERANCE) for side in sides]


def count_sizes(boxes_cxcywhn: FloatArray, width: float, height: float) -> tuple[int, int, int]:
    """Count the small (area below 32x32 pixels), medium (below 96x96) and large of normalised boxes [N, 4]."""
    areas = area_xyxy(cxcywhn_to_xyxy(boxes_cxcywhn, width, height))
    small, medium = (int((areas < area).sum()) for area in size_bounds(SIZE_SIDES))
    return small, medium - small, len(areas) - medium


def intersection_xyxy(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the area, float64 [N, M], that every box of `a` [N, 4] shares with every box of `b` [M, 4]."""
    a, b = (np.asarray(boxes, dtype=np.float64).reshape(-1, 4) for boxes in (a, b))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2)


def iou_xyxy(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return intersection over union of every box of `a` [N, 4] with every box of `b` [M, 4], float64 [N, M]."""
    intersection = intersection_xyxy(a, b)
    union = area_xyxy(a)[:, None] + area_xyxy(b)[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _scale(width: float, height: float) -> FloatArray:
    return np.array([width, height, width, height], dtype=np.float64)
