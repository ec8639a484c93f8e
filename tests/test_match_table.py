"""Matching by hand: COCO's greedy rule, ignored boxes, ranks, and the three overlaps."""

from __future__ import annotations

import numpy as np
from evaluation_samples import frame_result

from evaluation.scoring.matching import Criterion, greedy_match, greedy_partners, match_frames

BOX, FAR = (10, 10, 60, 60), (300, 300, 350, 350)


def partners(iou, threshold: float) -> list[int]:
    return greedy_match(np.array(iou, dtype=np.float64), threshold).tolist()


def test_each_true_box_is_taken_once_by_the_best_score():
    # The first takes the column it overlaps most; the second finds it taken; the third takes the other.
    assert partners([[0.6, 0.9], [0.0, 0.8], [0.7, 0.1]], 0.5) == [1, -1, 0]


def test_an_iou_equal_to_the_threshold_is_a_hit_and_one_below_is_not():
    assert partners([[0.5]], 0.5) == [0]
    assert partners([[0.4999]], 0.5) == [-1]
    perfect = match_frames([frame_result([(0, 0, 3, 7, 0)], [(0, 0, 3, 7, 0, 0.9)])], [Criterion(1.0)])
    assert perfect.hits(0).tolist() == [True]


def test_empty_frames_match_nothing():
    assert partners(np.zeros((0, 3)), 0.5) == []
    assert partners(np.zeros((2, 0)), 0.5) == [-1, -1]
    nothing = match_frames([], [Criterion(), Criterion(0.7)])
    assert (nothing.partners.shape, nothing.counted.shape, nothing.n_frames) == ((2, 0), (2, 0), 0)


def test_a_counted_box_is_preferred_to_an_ignored_one_it_overlaps_more():
    counted = np.array([[True, False], [True, True]])
    taken = greedy_partners(np.array([[0.6, 0.9]]), np.array([0.5, 0.5]), counted)
    assert taken.tolist() == [[0], [1]]


def test_a_box_of_another_class_is_no_hit_and_frames_keep_their_own():
    table = match_frames(
        [frame_result([(*BOX, 0)], [(*BOX, 1, 0.9), (*BOX, 0, 0.8)]), frame_result(),
         frame_result([(*FAR, 1), (*BOX, 0)], [(*BOX, 0, 0.85)])],
        [Criterion()],
    )  # fmt: skip
    assert table.scores.round(2).tolist() == [0.9, 0.85, 0.8]
    assert table.frames.tolist() == [0, 2, 0]
    assert table.partners.tolist() == [[-1, 2, 0]]  # true boxes are numbered through all frames
    assert table.false_alarms(0).tolist() == [True, False, False]


def test_ranks_count_within_frame_and_class_and_bound_what_is_matched():
    found = [(*BOX, 0, 0.9), (*FAR, 1, 0.8), (*FAR, 0, 0.7), (*BOX, 0, 0.6)]
    table = match_frames([frame_result([(*BOX, 0)], found), frame_result(found=[(*BOX, 0, 0.75)])], [Criterion()])
    assert dict(zip(table.scores.round(2).tolist(), table.ranks.tolist(), strict=True)) == {
        0.9: 0, 0.8: 0, 0.75: 0, 0.7: 1, 0.6: 2,
    }  # fmt: skip
    assert len(match_frames([frame_result([(*BOX, 0)], found)], [Criterion()], max_det=1).scores) == 2


def test_boxes_of_another_size_and_what_takes_them_are_ignored():
    truth, found = (
        [(*BOX, 0), (0, 0, 200, 200, 0)],
        [(0, 0, 200, 200, 0, 0.9), (*BOX, 0, 0.8), (400, 0, 410, 10, 0, 0.7)],
    )
    small = Criterion(area=(0, 60**2))
    table = match_frames([frame_result(truth, found)], [small])
    assert table.ignored.tolist() == [[True, False, False]]
    assert table.hits(0).tolist() == [False, True, False]
    assert table.counted.tolist() == [[True, False]]
    large = match_frames([frame_result(truth, found)], [Criterion(area=(60**2, 1e9))])
    assert large.ignored.tolist() == [[False, True, True]]  # the last is a false alarm of another size


def test_the_three_meanings_of_a_hit():
    # IoU 1/3 with the centre inside; IoU 0.04 with the centre inside; the centre on the far edge, which is outside.
    cases = {
        (10, 10, 60, 160): (False, True, False),
        (20, 20, 30, 30): (False, False, True),
        (50, 10, 70, 60): (False, False, False),
    }
    criteria = [Criterion(0.5), Criterion(0.3), Criterion(overlap="centre")]
    for box, hits in cases.items():
        table = match_frames([frame_result([(*BOX, 0)], [(*box, 0, 0.9)])], criteria)
        assert tuple(bool(table.hits(row)[0]) for row in range(3)) == hits, box
