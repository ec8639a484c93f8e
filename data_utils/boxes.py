"""Box arithmetic. Every function takes and returns NumPy arrays [N, 4] and leaves its input as it is.

xyxy: corners; cxcywhn: centre and size over image width and height. Normalised boxes do not change under a plain
(non-letterbox) resize, so mapping a frame to the model's input and back is a scaling of the xyxy boxes alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_utils.types import FloatArray

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
