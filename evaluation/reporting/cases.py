"""The worst misses and false alarms of a stored pass: which boxes they are, and why they count as such, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data_utils.boxes import iou_xyxy
from data_utils.types import FloatArray, FrameResult
from evaluation.headline import Scoring, frame_table
from evaluation.operating_points import frame_counts


@dataclass(frozen=True)
class Case:
    """One box that went wrong. frame: number in the prediction file, from 0; box_xyxy: pixels of the original frame."""

    frame: int
    box_xyxy: tuple[float, float, float, float]
    is_miss: bool
    words: str


def worst_misses(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None, most: int) -> list[Case]:
    """Return the lesions missed, first those the detector saw least: no or a low score on them, then the largest.

    One lesion a frame.
    """
    found = frame_counts(frame_table(results, scoring), 0, threshold).found
    cases: list[tuple[float, float, Case]] = []
    place = 0
    for frame, result in enumerate(results):
        for box, class_id in zip(result.truth_xyxy, result.truth_class_ids, strict=True):
            if not found[place]:
                score, why = _seen(result, box, scoring)
                width, height = box[2] - box[0], box[3] - box[1]
                words = f"{scoring.names[class_id]}, {width:.0f} x {height:.0f} px; {why}"
                cases.append((score, -width * height, Case(frame, _corners(box), True, words)))
            place += 1
    return _one_a_frame(case for *_, case in sorted(cases, key=lambda row: row[:2]))[:most]


def worst_false_alarms(
    results: Sequence[FrameResult], scoring: Scoring, threshold: float | None, most: int
) -> list[Case]:
    """Return the detections above the threshold that hit nothing, the most confident first; one a frame."""
    table = frame_table(results, scoring)
    kept = table.false_alarms(0) & (table.scores > (-1.0 if threshold is None else threshold))
    cases: dict[int, Case] = {}
    for index in np.flatnonzero(kept):  # best score first
        frame, class_id = int(table.frames[index]), int(table.class_ids[index])
        if frame in cases or len(cases) == most:
            continue
        result = results[frame]
        own = np.flatnonzero(result.detections.class_ids == class_id)[table.ranks[index]]
        box = result.detections.boxes_xyxy[own]
        why = _why_false(result, box, class_id, scoring)
        words = f"{scoring.names[class_id]}, score {table.scores[index]:.2f}; {why}"
        cases[frame] = Case(frame, _corners(box), False, words)
    return list(cases.values())


def _one_a_frame(cases: Iterable[Case]) -> list[Case]:
    first: dict[int, Case] = {}
    for case in cases:
        first.setdefault(case.frame, case)
    return list(first.values())


def _seen(result: FrameResult, box: FloatArray, scoring: Scoring) -> tuple[float, str]:
    """Return the best score of a detection on a missed box, 0 without any, and what to say of it."""
    found = result.detections
    overlaps = iou_xyxy(box[None], found.boxes_xyxy.astype(np.float64))[0]
    close = np.flatnonzero(overlaps >= scoring.iou_thresh)
    if len(close):
        best = close[0]  # best score first
        name, score = scoring.names[found.class_ids[best]], float(found.scores[best])
        return score, f"best box on it: {name}, score {score:.2f}, IoU {overlaps[best]:.2f}"
    if len(overlaps) and overlaps.max() > 0:
        best = int(overlaps.argmax())
        return 0.0, f"closest box: IoU {overlaps[best]:.2f}, score {found.scores[best]:.2f}"
    return 0.0, "no box touches it"


def _why_false(result: FrameResult, box: FloatArray, class_id: int, scoring: Scoring) -> str:
    if not len(result.truth_xyxy):
        return "on a healthy frame"
    overlaps = iou_xyxy(box[None].astype(np.float64), result.truth_xyxy)[0]
    best = int(overlaps.argmax())
    true_id = int(result.truth_class_ids[best])
    if overlaps[best] < scoring.iou_thresh:
        return f"closest true box: IoU {overlaps[best]:.2f}" if overlaps[best] > 0 else "no true box there"
    return "second box on one object" if true_id == class_id else f"truly {scoring.names[true_id]}"


def _corners(box: FloatArray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2
