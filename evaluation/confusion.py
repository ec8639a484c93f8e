"""Which class was taken for which: the confusion matrix with the background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_utils.boxes import area_xyxy, intersection_xyxy, iou_xyxy
from data_utils.types import Detections, FrameResult
from evaluation.match_table import greedy_match


def confusion_matrix(
    results: Sequence[FrameResult], nc: int, iou_thresh: float, threshold: float | None
) -> NDArray[np.int64]:
    """Count int64 [nc + 1, nc + 1]: row the class found, column the true one, index nc the background.

    Hits come first (the diagonal equals the true positives of `at_threshold`); what is left over is then matched
    whatever its class, which gives the confusions; the rest is a false alarm (last column), or a miss (last row), and
    nothing where it lies in a crowd of its class.
    """
    matrix = np.zeros((nc + 1, nc + 1), dtype=np.int64)
    for result in results:
        detections = result.detections if threshold is None else result.detections.above(threshold)
        iou = iou_xyxy(detections.boxes_xyxy.astype(np.float64), result.truth_xyxy)
        same_class = detections.class_ids[:, None] == result.truth_class_ids[None, :]
        partner = greedy_match(np.where(same_class, iou, 0.0), iou_thresh)
        left = np.flatnonzero(partner < 0)
        free = np.setdiff1d(np.arange(len(result.truth_xyxy)), partner)
        second = greedy_match(iou[np.ix_(left, free)], iou_thresh)
        partner[left[second >= 0]] = free[second[second >= 0]]
        true_class = np.append(result.truth_class_ids, nc)[partner]  # -1, no partner, reads the background at the end
        missed = np.setdiff1d(np.arange(len(result.truth_xyxy)), partner)
        counts = (partner >= 0) | ~_in_crowd(detections, result, iou_thresh)
        np.add.at(matrix, (detections.class_ids[counts], true_class[counts]), 1)
        np.add.at(matrix, (np.full(len(missed), nc), result.truth_class_ids[missed]), 1)
    return matrix


def _in_crowd(detections: Detections, result: FrameResult, least: float) -> NDArray[np.bool_]:
    """Return whether at least a share `least` of each detection lies in a crowd of its class, bool [D]."""
    boxes = detections.boxes_xyxy.astype(np.float64)
    share = intersection_xyxy(boxes, result.crowd_xyxy) / np.maximum(area_xyxy(boxes), 1e-12)[:, None]
    return ((share >= least) & (detections.class_ids[:, None] == result.crowd_class_ids)).any(axis=1)
