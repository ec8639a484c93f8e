"""Which boxes went wrong worst, and why, in hand-made frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evaluation_samples import frame_result

from data_utils.config.sections import EvalSection
from evaluation.report.pictures import worst_false_alarms, worst_misses
from evaluation.statistics.headline import Scoring

SCORING = Scoring(("lesion", "polyp"), 0.5, 0.001, 320, EvalSection())


def frames(*pairs):
    return [replace(frame_result(truth, found), stem=f"f{place}") for place, (truth, found) in enumerate(pairs)]


def test_misses_are_sorted_by_how_little_was_seen_then_by_size():
    results = frames(
        ([(0, 0, 50, 50, 0)], [(0, 0, 50, 50, 0, 0.2)]),  # seen, but below the threshold
        ([(0, 0, 20, 20, 0)], []),
        ([(0, 0, 90, 90, 1)], [(60, 0, 150, 90, 1, 0.9)]),  # IoU 30 * 90 / (2 * 90 * 90 - 30 * 90) = 1/5
        ([(0, 0, 50, 50, 0)], [(0, 0, 50, 50, 0, 0.9)]),  # found
        ([(0, 0, 40, 40, 0)], [(0, 0, 40, 40, 1, 0.7)]),  # taken for a polyp
    )
    cases = worst_misses(results, SCORING, 0.5, 10)
    assert [case.frame for case in cases] == [2, 1, 0, 4]
    assert cases[0].words == "polyp, 90 x 90 px; closest box: IoU 0.20, score 0.90"
    assert cases[1].words == "lesion, 20 x 20 px; no box touches it"
    assert cases[2].words == "lesion, 50 x 50 px; best box on it: lesion, score 0.20, IoU 1.00"
    assert cases[3].words.endswith("best box on it: polyp, score 0.70, IoU 1.00")
    assert [case.frame for case in worst_misses(results, SCORING, 0.5, 2)] == [2, 1]
    assert all(case.is_miss for case in cases)


def test_one_box_a_frame():
    results = frames(([(0, 0, 20, 20, 0), (100, 100, 190, 190, 0)], []))
    (case,) = worst_misses(results, SCORING, None, 10)
    assert case.box_xyxy == (100, 100, 190, 190)


@pytest.mark.parametrize(
    ("truth", "found", "why"),
    [
        ([], [(0, 0, 9, 9, 0, 0.9)], "on a healthy frame"),
        ([(50, 50, 90, 90, 0)], [(0, 0, 9, 9, 0, 0.9)], "no true box there"),
        ([(0, 0, 90, 90, 0)], [(60, 0, 150, 90, 0, 0.9)], "closest true box: IoU 0.20"),
        ([(0, 0, 9, 9, 1)], [(0, 0, 9, 9, 0, 0.9)], "truly polyp"),
        ([(0, 0, 9, 9, 0)], [(0, 0, 9, 9, 0, 0.95), (0, 0, 9, 8, 0, 0.9)], "second box on one object"),
    ],
)
def test_why_an_alarm_is_false(truth, found, why):
    (case,) = worst_false_alarms(frames((truth, found)), SCORING, 0.5, 10)
    assert case.words == f"lesion, score 0.90; {why}"
    assert case.box_xyxy == pytest.approx(found[-1][:4])


def test_false_alarms_go_by_score_and_stop_at_the_threshold():
    results = frames(([], [(0, 0, 9, 9, 0, 0.6), (20, 20, 40, 40, 1, 0.7)]), ([], [(0, 0, 9, 9, 0, 0.8)]),
                     ([], [(0, 0, 9, 9, 0, 0.3)]))  # fmt: skip
    assert [(case.frame, case.box_xyxy[2]) for case in worst_false_alarms(results, SCORING, 0.5, 10)] == [
        (1, 9),
        (0, 40),
    ]
    assert len(worst_false_alarms(results, SCORING, None, 10)) == 3


def test_no_frames_no_cases():
    assert worst_misses([], SCORING, 0.5, 3) == worst_false_alarms([], SCORING, 0.5, 3) == []
