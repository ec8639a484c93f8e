"""COCO's measures: AP and recall over IoU thresholds, classes and box sizes. The tests hold them to pycocotools.

What is not defined is None, never NaN: AP of a class, or of a size bucket, without a single true box. With truth and
no detections AP is 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_utils.boxes import size_bounds
from data_utils.types import FloatArray, FrameResult
from evaluation.average_precision import interpolated_ap, rank_hits, sampled_envelope, weighted_ap
from evaluation.match_table import Criterion, MatchTable, SizeReference, match_frames

AreaRanges = Mapping[str, tuple[float, float]]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of mAP50-95
RECALL_AT = (1, 10, 100)  # best detections of a frame and class that COCO's average recalls count
SIZE_CUTOFFS = (32.0, 96.0)


def area_ranges(cutoffs: Sequence[float] = SIZE_CUTOFFS) -> dict[str, tuple[float, float]]:
    """Return {bucket: (smallest, largest area in square pixels)} between squares of the given sides.

    COCO's own ranges hold both ends, so that a 32x32 box would count as small and as medium. Here every box is in
    exactly one bucket, the same as in preparing (boxes.size_bounds). Two sides give small, medium and large; other
    numbers name their bounds ("16-32 px").
    """
    bounds = [0.0, *size_bounds(cutoffs), math.inf]
    if len(cutoffs) == 2:
        names = ["small", "medium", "large"]
    else:
        names = [f"below {cutoffs[0]:g} px", *(f"{a:g}-{b:g} px" for a, b in itertools.pairwise(cutoffs)),
                 f"from {cutoffs[-1]:g} px"]  # fmt: skip
    return {name: (bounds[i], math.nextafter(bounds[i + 1], 0)) for i, name in enumerate(names)}


AREA_RANGES: AreaRanges = area_ranges()


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """AP of a set of frames, each in [0, 1] or None where there is no truth; means are over the classes with truth.

    ap: COCO's, at `iou_thresh`; ap_area: area under the whole curve, the paper's; ap_ultralytics: with ultralytics'
    interpolation. map50_95: mean of COCO's over IoU 0.50, 0.55 ... 0.95. ap_by_size: `ap` in each area range; boxes
    and unmatched detections of another size are ignored, as COCO does. ap_by_class: `ap` of each class id, in order.
    recall_at: mean recall over the ten IoUs with the best 1, 10, 100 and all detections of a frame and class.
    n_boxes_by_size, n_boxes_by_class: true boxes. curve_by_class: float64 [101], envelope of the precision at
    `RECALL_POINTS`, or None.
    """

    iou_thresh: float
    size_reference: SizeReference
    ap: float | None
    ap_area: float | None
    ap_ultralytics: float | None
    map50_95: float | None
    ap_by_size: dict[str, float | None]
    ap_by_class: list[float | None]
    recall_at: dict[int, float | None]
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
    there, in the detector's input or in the HR target. IoU does not depend on it, for they differ by a plain resize.
    Raises ValueError for a class id outside [0, nc).
    """
    check_class_ids(results, nc)
    criteria = [Criterion(iou_thresh), *(Criterion(iou_thresh, area) for area in area_ranges.values()),
                *(Criterion(float(iou)) for iou in IOU_THRESHOLDS)]  # fmt: skip
    table = match_frames(results, criteria, max_det, size_reference)
    coco = [[_ap(table, row, k) for k in range(nc)] for row in range(len(criteria))]
    first_iou = 1 + len(area_ranges)
    of_class = [rank_hits(table, 0, k) for k in range(nc)]
    return AveragePrecision(
        iou_thresh=iou_thresh,
        size_reference=size_reference,
        ap=mean_of_defined(coco[0]),
        ap_area=mean_of_defined([_ap(table, 0, k, "area") for k in range(nc)]),
        ap_ultralytics=mean_of_defined([interpolated_ap(hits) for hits in of_class]),
        map50_95=mean_of_defined([ap for row in coco[first_iou:] for ap in row]),
        ap_by_size={name: mean_of_defined(coco[1 + index]) for index, name in enumerate(area_ranges)},
        ap_by_class=coco[0],
        recall_at={
            count: _mean_recall(table, range(first_iou, len(criteria)), nc, count)
            for count in sorted({*RECALL_AT, max_det})
        },
        n_boxes_by_size={name: int(table.counted[1 + index].sum()) for index, name in enumerate(area_ranges)},
        n_boxes_by_class=np.bincount(table.truth_class_ids, minlength=nc).tolist(),
        curve_by_class=[sampled_envelope(hits) for hits in of_class],
    )


def check_class_ids(results: Sequence[FrameResult], nc: int) -> None:
    """Raise ValueError for a class id outside [0, nc)."""
    for result in results:
        for class_ids, what in ((result.truth_class_ids, "true"), (result.detections.class_ids, "detected")):
            if len(class_ids) and (class_ids.min() < 0 or class_ids.max() >= nc):
                raise ValueError(f"{result.stem}: {what} class ids {np.unique(class_ids).tolist()} with {nc} classes")


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is not None; None where nothing is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _ap(table: MatchTable, criterion: int, class_id: int, definition: str = "coco") -> float | None:
    hits = rank_hits(table, criterion, class_id)
    value = float(weighted_ap(hits, np.ones((1, 1)), definition)[0])
    return None if math.isnan(value) else value


def _mean_recall(table: MatchTable, criteria: Sequence[int], nc: int, max_det: int) -> float | None:
    """Return the share of true boxes that the best `max_det` of each frame and class find, mean over all criteria."""
    recalls: list[float | None] = []
    for row in criteria:
        found = np.bincount(table.class_ids[table.hits(row) & (table.ranks < max_det)], minlength=nc)
        n_truth = np.bincount(table.truth_class_ids[table.counted[row]], minlength=nc)
        recalls += [found[k] / n_truth[k] if n_truth[k] else None for k in range(nc)]
    return mean_of_defined(recalls)
