"""Hits and misses at one score threshold: precision, recall, F1 and the confusion matrix.

A detection is a hit when it takes the still free true box of its class with the highest IoU, at least `iou_thresh`,
detections being served best score first (COCO's rule). Dropping low scores therefore never changes a hit above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_utils.boxes import iou_xyxy
from data_utils.types import Detections, FloatArray, FrameResult, IntArray


@dataclass(frozen=True)
class OperatingPoint:
    """Counts over all classes of the detections with a score greater than `threshold`.

    Without truth, precision, recall, f1 and threshold are None. With truth and no detections the first three are 0 and
    threshold is None. None means that every detection is counted.
    """

    threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    tp: int
    fp: int
    fn: int


def greedy_match(iou: FloatArray, iou_thresh: float) -> IntArray:
    """Return for each row of `iou` [D, G], rows best score first, the column it takes, or -1; int64 [D]."""
    taken = np.full(len(iou), -1, dtype=np.int64)
    if iou.size == 0:
        return taken
    free = np.ones(iou.shape[1], dtype=bool)
    # As in COCO, an IoU threshold of 1 still accepts a box equal to rounding error.
    least = min(iou_thresh, 1 - 1e-10)
    for row in np.flatnonzero((iou >= least).any(axis=1)):
        candidates = np.where(free, iou[row], -1.0)
        best = int(candidates.argmax())
        if candidates[best] >= least:
            taken[row] = best
            free[best] = False
    return taken


def hits(result: FrameResult, iou_thresh: float) -> NDArray[np.bool_]:
    """Return bool [D]: whether each detection of the frame, best score first, is a hit."""
    iou = iou_xyxy(result.detections.boxes_xyxy, result.truth_xyxy)
    return greedy_match(_same_class(iou, result.detections, result), iou_thresh) >= 0


def best_f1(results: Sequence[FrameResult], iou_thresh: float) -> OperatingPoint:
    """Find the score threshold with the highest F1 over all classes; the highest threshold among equals.

    The threshold lies midway between the lowest score kept and the next below it (or 0), so that it means the same
    under "greater" and "at least", and after rounding. It is chosen on the very frames it is reported for.
    """
    n_truth = sum(len(result.truth_xyxy) for result in results)
    scores = np.concatenate([np.zeros(0), *(result.detections.scores for result in results)]).astype(np.float64)
    if not n_truth:
        return OperatingPoint(None, None, None, None, tp=0, fp=len(scores), fn=0)
    if not len(scores):
        return OperatingPoint(None, 0.0, 0.0, 0.0, tp=0, fp=0, fn=n_truth)
    is_hit = np.concatenate([hits(result, iou_thresh) for result in results])
    order = np.argsort(-scores, kind="stable")
    scores, cumulated = scores[order], np.cumsum(is_hit[order])
    kept = np.append(np.flatnonzero(np.diff(scores)) + 1, len(scores))  # how many are kept: equal scores go together
    f1 = 2 * cumulated[kept - 1] / (kept + n_truth)  # 2 TP / (2 TP + FP + FN)
    best = int(f1.argmax())
    n_kept, tp = int(kept[best]), int(cumulated[kept[best] - 1])
    below = scores[n_kept] if n_kept < len(scores) else 0.0
    return OperatingPoint(
        threshold=float((scores[n_kept - 1] + below) / 2),
        precision=tp / n_kept,
        recall=tp / n_truth,
        f1=float(f1[best]),
        tp=tp,
        fp=n_kept - tp,
        fn=n_truth - tp,
    )


def confusion_matrix(
    results: Sequence[FrameResult], nc: int, iou_thresh: float, threshold: float | None
) -> NDArray[np.int64]:
    """Count int64 [nc + 1, nc + 1]: row the class found, column the true one, index nc the background.

    Hits come first (the diagonal equals the true positives of `best_f1`); what is left over is then matched whatever
    its class, which gives the confusions; the rest is a false alarm (last column) or a miss (last row).
    """
    matrix = np.zeros((nc + 1, nc + 1), dtype=np.int64)
    for result in results:
        detections = result.detections if threshold is None else result.detections.above(threshold)
        iou = iou_xyxy(detections.boxes_xyxy, result.truth_xyxy)
        partner = greedy_match(_same_class(iou, detections, result), iou_thresh)
        left = np.flatnonzero(partner < 0)
        free = np.setdiff1d(np.arange(len(result.truth_xyxy)), partner)
        second = greedy_match(iou[np.ix_(left, free)], iou_thresh)
        partner[left[second >= 0]] = free[second[second >= 0]]
        true_class = np.append(result.truth_class_ids, nc)[partner]  # -1, no partner, reads the background at the end
        missed = np.setdiff1d(np.arange(len(result.truth_xyxy)), partner)
        np.add.at(matrix, (detections.class_ids, true_class), 1)
        np.add.at(matrix, (np.full(len(missed), nc), result.truth_class_ids[missed]), 1)
    return matrix


def healthy_frames(results: Sequence[FrameResult], threshold: float | None) -> tuple[int, int]:
    """Return (frames without a true box, how many of them hold a detection above `threshold`)."""
    healthy = [result.detections for result in results if not len(result.truth_xyxy)]
    alarmed = [d for d in healthy if len(d if threshold is None else d.above(threshold))]
    return len(healthy), len(alarmed)


def _same_class(iou: FloatArray, detections: Detections, result: FrameResult) -> FloatArray:
    """Set IoU [D, M] to 0 where a detection and a true box differ in class."""
    return np.where(detections.class_ids[:, None] == result.truth_class_ids[None, :], iou, 0.0)
