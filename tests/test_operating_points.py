"""The best-F1 threshold and its counts, and the confusion matrix, against truths computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_samples import frame_result
from hypothesis import given
from hypothesis import strategies as st

from data_utils.records import Detections, FrameResult
from evaluation.scoring.operating_points import (
    OperatingPoint,
    at_threshold,
    best_f1,
    confusion_matrix,
    healthy_frames,
    hit_table,
    threshold_curves,
)

BOX, FAR = (10, 10, 60, 60), (300, 300, 350, 350)


def test_best_f1_weighs_hits_against_false_alarms():
    # By score: hit 0.9, miss 0.8, hit 0.7, miss 0.2. F1 for 1..4 kept of 2 true boxes: 2/3, 2/4, 4/5, 4/6.
    first = frame_result([(*BOX, 0)], [(*BOX, 0, 0.9), (*FAR, 0, 0.8)])
    second = frame_result([(*BOX, 0)], [(*BOX, 0, 0.7), (*FAR, 0, 0.2)])
    point = best_f1([first, frame_result(), second], 0.5)
    assert (point.tp, point.fp, point.fn) == (2, 1, 0)
    assert (point.precision, point.recall, point.f1) == (pytest.approx(2 / 3), 1.0, pytest.approx(0.8))
    assert point.threshold == pytest.approx((0.7 + 0.2) / 2)
    assert at_threshold([first, frame_result(), second], 0.5, point.threshold) == point
    above = at_threshold([first, second], 0.5, 0.85)
    assert (above.threshold, above.tp, above.fp, above.fn, above.precision) == (0.85, 1, 0, 1, 1.0)
    curves = threshold_curves(hit_table([first, second], 0.5))
    assert curves.f1.tolist() == pytest.approx([2 / 3, 2 / 4, 4 / 5, 4 / 6])
    assert curves.recall.tolist() == pytest.approx([1 / 2, 1 / 2, 1, 1])


def test_equal_scores_are_kept_or_dropped_together():
    scored = frame_result([(*BOX, 0)], [(*BOX, 0, 0.5), (*FAR, 0, 0.5)])
    point = best_f1([scored], 0.5)
    assert (point.tp, point.fp, point.threshold) == (1, 1, pytest.approx(0.25))


def test_the_undefined_operating_points():
    found = frame_result(found=[(*BOX, 0, 0.9), (*FAR, 0, 0.3)])
    assert best_f1([found], 0.5) == OperatingPoint(None, None, None, None, tp=0, fp=2, fn=0)
    assert best_f1([frame_result()], 0.5) == OperatingPoint(None, None, None, None, tp=0, fp=0, fn=0)
    assert best_f1([], 0.5) == OperatingPoint(None, None, None, None, tp=0, fp=0, fn=0)
    missed = frame_result([(*BOX, 0), (*FAR, 0)])
    assert best_f1([missed], 0.5) == OperatingPoint(None, 0.0, 0.0, 0.0, tp=0, fp=0, fn=2)


def test_healthy_frames_and_alarms_in_them():
    results = [frame_result(found=[(*BOX, 0, 0.4)]), frame_result(), frame_result([(*BOX, 0)], [(*BOX, 0, 0.9)])]
    assert healthy_frames(results, 0.3) == (2, 1)
    assert healthy_frames(results, 0.5) == (2, 0)
    assert healthy_frames(results, None) == (2, 1)


@st.composite
def result_lists(draw):
    """A few frames with boxes on a coarse grid, so that overlaps and equal scores are common."""
    corner, side = st.integers(0, 6), st.integers(1, 6)

    def boxes(count):
        rows = [[draw(corner), draw(corner), draw(side), draw(side)] for _ in range(count)]
        return np.array([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=np.float64).reshape(-1, 4)

    results = []
    for _ in range(draw(st.integers(0, 3))):
        n_true, n_found = draw(st.integers(0, 4)), draw(st.integers(0, 5))
        ids = [draw(st.integers(0, 1)) for _ in range(n_true + n_found)]
        scores = [draw(st.sampled_from([0.1, 0.2, 0.5, 0.9])) for _ in range(n_found)]
        found = Detections(boxes(n_found), scores, ids[n_true:])
        true_ids = np.array(ids[:n_true], dtype=np.int64)
        results.append(FrameResult("f", found, boxes(n_true), true_ids, (12, 12), (12, 12)))
    return results


@given(result_lists())
def test_counts_agree_and_no_other_threshold_is_better(results):
    n_truth = sum(len(result.truth_xyxy) for result in results)
    point = best_f1(results, 0.5)
    matrix = confusion_matrix(results, 2, 0.5, point.threshold)
    assert point.tp == np.trace(matrix)
    assert point.tp + point.fn == n_truth
    kept = [r.detections if point.threshold is None else r.detections.above(point.threshold) for r in results]
    assert point.tp + point.fp == sum(map(len, kept)) == matrix[:2].sum()
    assert matrix[:, :2].sum() == n_truth
    for threshold in (0.0, 0.15, 0.3, 0.7) if point.f1 is not None else ():
        other = confusion_matrix(results, 2, 0.5, threshold)
        n_found = other[:2].sum()
        assert 2 * np.trace(other) / (n_found + n_truth) <= point.f1 + 1e-12
