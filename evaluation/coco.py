"""Average precision, by faster-coco-eval, in memory and silent. The tests hold it to pycocotools.

What is not defined is None, never NaN: AP of a class, or of a size bucket, without a single true box. With truth and
no detections AP is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_utils.boxes import scale_xyxy
from data_utils.types import FloatArray, FrameResult

SizeReference = Literal["original", "input"]
AreaRanges = Mapping[str, tuple[float, float]]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of mAP50-95
RECALL_POINTS = np.linspace(0.0, 1.0, 101)  # at which COCO's AP samples the precision
_LARGEST = 1e10
# COCO's own ranges hold both ends, so that a 32x32 box would count as small and as medium. Here every box is in
# exactly one bucket: small < 32x32 <= medium < 96x96 <= large, in square pixels of the size reference.
AREA_RANGES: AreaRanges = {
    "small": (0.0, math.nextafter(32.0**2, 0)),
    "medium": (32.0**2, math.nextafter(96.0**2, 0)),
    "large": (96.0**2, _LARGEST),
}


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """AP of a set of frames, each in [0, 1] or None where there is no truth; means are over the classes with truth.

    ap: at `iou_thresh`. map50_95: mean over IoU 0.50, 0.55 ... 0.95. ap_by_size: `ap` in each area range; boxes and
    unmatched detections of another size are ignored, as COCO does. ap_by_class: `ap` of each class id, in order.
    n_boxes_by_size, n_boxes_by_class: true boxes. curve_by_class: float64 [101] precision at `RECALL_POINTS`, or None.
    """

    iou_thresh: float
    size_reference: SizeReference
    ap: float | None
    map50_95: float | None
    ap_by_size: dict[str, float | None]
    ap_by_class: list[float | None]
    n_boxes_by_size: dict[str, int]
    n_boxes_by_class: list[int]
    curve_by_class: list[FloatArray | None]


def average_precision(
    results: Sequence[FrameResult],
    nc: int,
    iou_thresh: float = 0.5,
    max_det: int = 300,
    size_reference: SizeReference = "original",
    area_ranges: AreaRanges = AREA_RANGES,
) -> AveragePrecision:
    """Score detections against the truth of the same frames, as COCO does (101 recall points, `max_det` per frame).

    Boxes are in pixels of the original frame; `size_reference` says whether `area_ranges`, in square pixels, count
    there or in the detector's input. IoU does not depend on it, because the two differ by a plain resize.
    Raises ValueError for a class id outside [0, nc).
    """
    truth, found = _annotations(results, nc, size_reference)
    thresholds = np.unique(np.append(IOU_THRESHOLDS, iou_thresh))
    precision = _precision(truth, found, len(results), nc, thresholds, max_det, area_ranges)
    at_hit = int(np.argmin(np.abs(thresholds - iou_thresh)))
    in_map = [int(np.argmin(np.abs(thresholds - t))) for t in IOU_THRESHOLDS]
    areas = np.array([box["area"] for box in truth])
    classes = np.array([box["category_id"] for box in truth], dtype=np.int64)
    curves = [_curve(precision[at_hit, :, k, 0]) for k in range(nc)]
    return AveragePrecision(
        iou_thresh=iou_thresh,
        size_reference=size_reference,
        ap=_mean(precision[at_hit, :, :, 0]),
        map50_95=_mean(precision[in_map, :, :, 0]),
        ap_by_size={name: _mean(precision[at_hit, :, :, 1 + a]) for a, name in enumerate(area_ranges)},
        ap_by_class=[None if curve is None else float(curve.mean()) for curve in curves],
        n_boxes_by_size={
            name: int(np.count_nonzero((areas >= low) & (areas <= high))) for name, (low, high) in area_ranges.items()
        },
        n_boxes_by_class=np.bincount(classes - 1, minlength=nc).tolist() if truth else [0] * nc,
        curve_by_class=curves,
    )


def _annotations(
    results: Sequence[FrameResult], nc: int, size_reference: SizeReference
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return COCO annotations of the truth and of the detections, with boxes in pixels of the size reference.

    Ids start at 1, because COCO's matching reads 0 as "not matched".
    """
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image_id, result in enumerate(results, start=1):
        detections = result.detections
        reference = result.input_size if size_reference == "input" else result.original_size
        for class_ids, what in ((result.truth_class_ids, "true"), (detections.class_ids, "detected")):
            if len(class_ids) and (class_ids.min() < 0 or class_ids.max() >= nc):
                raise ValueError(f"{result.stem}: {what} class ids {np.unique(class_ids).tolist()} with {nc} classes")
        truth_xyxy = scale_xyxy(result.truth_xyxy, result.original_size, reference)
        found_xyxy = scale_xyxy(detections.boxes_xyxy, result.original_size, reference)
        truth += _to_coco(image_id, truth_xyxy, result.truth_class_ids, None, len(truth) + 1)
        found += _to_coco(image_id, found_xyxy, detections.class_ids, detections.scores, len(found) + 1)
    return truth, found


def _to_coco(
    image_id: int, boxes_xyxy: FloatArray, class_ids: Any, scores: FloatArray | None, first_id: int
) -> list[dict[str, Any]]:
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    boxes_xywh = np.concatenate([boxes_xyxy[:, :2], sizes], axis=1).tolist()
    annotations = [
        {
            "id": first_id + index,
            "image_id": image_id,
            "category_id": int(class_id) + 1,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for index, (box, class_id) in enumerate(zip(boxes_xywh, class_ids, strict=True))
    ]
    if scores is not None:
        for annotation, score in zip(annotations, scores.tolist(), strict=True):
            annotation["score"] = score
    return annotations


def _precision(
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
    n_frames: int,
    nc: int,
    thresholds: NDArray[np.float64],
    max_det: int,
    area_ranges: AreaRanges,
) -> FloatArray:
    """Return precision [T IoU thresholds, R recall points, nc, 1 + area ranges]; -1 where there is no truth."""
    if not truth:
        return np.full((len(thresholds), len(RECALL_POINTS), nc, 1 + len(area_ranges)), -1.0)
    from faster_coco_eval.core.coco import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    images = [{"id": index} for index in range(1, n_frames + 1)]
    categories = [{"id": k + 1, "name": str(k)} for k in range(nc)]
    coco_truth = COCO({"images": images, "categories": categories, "annotations": truth})
    coco_found = COCO({"images": images, "categories": categories, "annotations": found})
    evaluation = COCOeval_faster(coco_truth, coco_found, iouType="bbox")
    evaluation.params.iouThrs = thresholds
    evaluation.params.recThrs = RECALL_POINTS
    evaluation.params.maxDets = [max_det]
    evaluation.params.areaRng = [[0.0, _LARGEST], *([low, high] for low, high in area_ranges.values())]
    evaluation.params.areaRngLbl = ["all", *area_ranges]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[..., 0]


def _mean(precision: FloatArray) -> float | None:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


def _curve(precision: FloatArray) -> FloatArray | None:
    return None if precision[0] < 0 else precision
