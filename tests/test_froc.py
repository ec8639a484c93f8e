"""FROC by hand."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_samples import frame_result

from evaluation.scoring.ap import rank_hits
from evaluation.scoring.froc import FALSE_ALARM_RATES, HITS, froc_curve, rate_name, sensitivity_at
from evaluation.scoring.matching import match_frames

BOX, FAR, AWAY = (10, 10, 60, 60), (300, 300, 350, 350), (500, 10, 550, 60)
# By score over two frames: hit, false alarm, false alarm, hit; three lesions.
FRAMES = [
    frame_result([(*BOX, 0), (*FAR, 0)], [(*BOX, 0, 0.9), (*AWAY, 0, 0.8), (*FAR, 0, 0.6)]),
    frame_result([(*BOX, 0)], [(*AWAY, 0, 0.7)]),
]


def ranked(results, hit="iou50", units=None):
    return rank_hits(match_frames(results, [HITS[hit]]), 0, None, units)


def test_sensitivity_at_each_rate():
    values = sensitivity_at(ranked(FRAMES), np.ones((1, 1)), np.array([2.0]), (0.125, 0.5, 0.9, 1.0, 8.0))[0]
    assert values == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_weights_count_frames_and_lesions_of_patients():
    hits = ranked(FRAMES, units=np.array([0, 1]))
    first_alone = sensitivity_at(hits, np.array([[2.0, 0.0]]), np.array([1.0, 1.0]), (0.5, 1.0))[0]
    assert first_alone == pytest.approx([1 / 2, 1.0])


def test_no_lesions_and_no_detections():
    healthy, silent = ranked([frame_result(found=[(*BOX, 0, 0.9)])]), ranked([frame_result([(*BOX, 0)])])
    assert np.isnan(sensitivity_at(healthy, np.ones((1, 1)), np.ones(1))).all()
    assert (sensitivity_at(silent, np.ones((1, 1)), np.ones(1)) == 0).all()
    assert froc_curve(healthy, 1)["sensitivity"] == froc_curve(silent, 1)["sensitivity"] == []


def test_equal_scores_are_kept_or_dropped_together_whatever_their_order():
    hit, alarm = frame_result([(*BOX, 0)], [(*BOX, 0, 0.9)]), frame_result(found=[(*AWAY, 0, 0.9)])
    for frames in ([hit, alarm], [alarm, hit]):
        hits = rank_hits(match_frames(frames, [HITS["iou50"]]), 0, ties_together=True)
        values = sensitivity_at(hits, np.ones((1, 1)), np.array([2.0]), (0.25, 0.5))[0]
        assert values.tolist() == [0.0, 1.0]


def test_the_curves_corners():
    curve = froc_curve(ranked(FRAMES), 2)
    assert curve["false_alarms_per_frame"] == [0.0, 1.0]
    assert curve["sensitivity"] == pytest.approx([1 / 3, 2 / 3])
    assert curve["threshold"] == pytest.approx([0.9, 0.6])


def test_a_second_detection_of_a_found_lesion_is_a_false_alarm_also_by_its_centre():
    twice = [frame_result([(*BOX, 0)], [(*BOX, 0, 0.9), (30, 30, 40, 40, 0, 0.8)])]
    table = match_frames(twice, [HITS["centre"]])
    assert (table.hits(0).tolist(), table.false_alarms(0).tolist()) == ([True, False], [False, True])


def test_rates_have_names():
    assert [rate_name(rate) for rate in FALSE_ALARM_RATES] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]
