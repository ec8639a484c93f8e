"""What happens at a score threshold: precision, recall and F1 over all thresholds, the best of them, and a given one.

Classes are taken together; a hit needs the right class. A detection is kept when its score is greater than the
threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_utils.records import Detections, FloatArray, FrameResult, IntArray, area_xyxy, intersection_xyxy, iou_xyxy
from evaluation.scoring.matching import BoolArray, Criterion, MatchTable, greedy_match, match_frames


@dataclass(frozen=True)
class OperatingPoint:
    """Counts over all classes of the detections with a score greater than `threshold`.

    Without truth, precision, recall and f1 are None, and so is the threshold that `best_f1` chooses. With truth and no
    detections the first three are 0. A threshold of None means that every detection is counted.
    """

    threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class Threshold:
    """A score threshold and where it comes from, in words; `own` if from the very frames it is used on."""

    value: float | None
    origin: str
    own: bool = False


@dataclass(frozen=True, eq=False)
class ThresholdCurves:
    """Precision, recall and F1, float64 [K], when each distinct score is the lowest kept, best score first.

    thresholds: float64 [K], midway between the lowest score kept and the next below it (or 0), so that it means the
    same under "greater" and "at least", and after rounding. tp, n_kept: int64 [K].
    """

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    tp: IntArray
    n_kept: IntArray


@dataclass(frozen=True, eq=False)
class FrameCounts:
    """Counts of each frame at one threshold: int64 [S]. found: bool [G], whether each true box was hit."""

    tp: IntArray
    fp: IntArray
    n_truth: IntArray
    found: BoolArray


def hit_table(results: Sequence[FrameResult], iou_thresh: float, max_det: int = 300) -> MatchTable:
    """Match `results` under one criterion, IoU of at least `iou_thresh`."""
    return match_frames(results, [Criterion(iou_thresh)], max_det)


def threshold_curves(table: MatchTable, criterion: int = 0) -> ThresholdCurves:
    """Return precision, recall and F1 over the score threshold; empty without truth or detections."""
    counts = ~table.ignored[criterion]
    scores, hits = table.scores[counts], table.hits(criterion)[counts]
    n_truth, n_found = int(table.counted[criterion].sum()), len(scores)
    if not n_truth or not n_found:
        none, no_counts = np.zeros(0), np.zeros(0, dtype=np.int64)
        return ThresholdCurves(none, none, none, none, no_counts, no_counts)
    kept = np.append(np.flatnonzero(np.diff(scores)) + 1, n_found)  # equal scores go together
    tp = np.cumsum(hits)[kept - 1]
    below = np.append(scores, 0.0)[kept]
    thresholds = (scores[kept - 1] + below) / 2
    return ThresholdCurves(thresholds, tp / kept, tp / n_truth, 2 * tp / (kept + n_truth), tp.astype(np.int64), kept)


def best_f1(results: Sequence[FrameResult], iou_thresh: float, max_det: int = 300) -> OperatingPoint:
    """Find the score threshold with the highest F1 over all classes; the highest threshold among equals.

    It is chosen on the very frames it is reported for: on validation frames, to be used on others.
    """
    table = hit_table(results, iou_thresh, max_det)
    curves, n_truth = threshold_curves(table), len(table.truth_class_ids)
    if not len(curves.f1):
        undefined = None if not n_truth else 0.0
        fp = int(table.false_alarms(0).sum())
        return OperatingPoint(None, undefined, undefined, undefined, tp=0, fp=fp, fn=n_truth)
    best = int(curves.f1.argmax())
    return _point(float(curves.thresholds[best]), int(curves.tp[best]), int(curves.n_kept[best]), n_truth)


def at_threshold(
    results: Sequence[FrameResult], iou_thresh: float, threshold: float | None, max_det: int = 300
) -> OperatingPoint:
    """Count what the detections above a threshold that was chosen elsewhere give on these frames."""
    counts = frame_counts(hit_table(results, iou_thresh, max_det), 0, threshold)
    tp, n_truth = int(counts.tp.sum()), int(counts.n_truth.sum())
    return _point(threshold, tp, tp + int(counts.fp.sum()), n_truth)


def frame_counts(table: MatchTable, criterion: int, threshold: float | None) -> FrameCounts:
    """Count hits, false alarms and true boxes in each frame among detections above `threshold` (None: all)."""
    kept = np.ones(len(table.scores), dtype=bool) if threshold is None else table.scores > threshold
    hits, false = table.hits(criterion) & kept, table.false_alarms(criterion) & kept
    found = np.zeros(len(table.truth_frames), dtype=bool)
    found[table.partners[criterion][hits]] = True
    tp, fp, n_truth = (
        np.bincount(frames, minlength=table.n_frames).astype(np.int64)
        for frames in (table.frames[hits], table.frames[false], table.truth_frames[table.counted[criterion]])
    )
    return FrameCounts(tp, fp, n_truth, found)


def healthy_frames(results: Sequence[FrameResult], threshold: float | None) -> tuple[int, int]:
    """Return (frames without a true box, how many of them hold a detection above `threshold`)."""
    healthy = [result.detections for result in results if result.is_healthy]
    alarmed = [d for d in healthy if len(d if threshold is None else d.above(threshold))]
    return len(healthy), len(alarmed)


def _point(threshold: float | None, tp: int, n_kept: int, n_truth: int) -> OperatingPoint:
    if not n_truth:
        return OperatingPoint(threshold, None, None, None, tp=0, fp=n_kept, fn=0)
    precision, f1 = tp / n_kept if n_kept else 0.0, 2 * tp / (n_kept + n_truth)
    return OperatingPoint(threshold, precision, tp / n_truth, f1, tp=tp, fp=n_kept - tp, fn=n_truth - tp)


# Which class was taken for which: the confusion matrix with the background.


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
