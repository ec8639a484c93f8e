"""Paired comparison: the same patients drawn for both, plain words, and what the data can show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import random_results, small_config

from data_utils.errors import InputError
from data_utils.records import Detections
from evaluation.statistics.bootstrap import Interval
from evaluation.statistics.headline import Scoring
from evaluation.statistics.paired import (
    Pair,
    detectable,
    in_same_order,
    in_words,
    paired_intervals,
    patients_needed,
    signed_rank,
)

SCORING = Scoring.of(small_config("dataset.nc=1", "dataset.names=[lesion]", "eval.resamples=1000"))


def frames(seed=0):
    return random_results(np.random.default_rng(seed), n_frames=30, n_patients=12)


def test_a_model_does_not_differ_from_itself():
    for name, pair in paired_intervals(frames(), frames(), SCORING, (0.5, 0.5)).items():
        if pair.difference.value is not None:
            assert (pair.difference.value, pair.difference.se, pair.difference.low) == (0.0, 0.0, None), name
            assert (pair.p, pair.detectable, pair.patients_for_asked) == (None, None, None)
            assert in_words(name, pair) == f"{name}: +0.000, the same in every resample"


def test_the_difference_is_narrower_than_either_model_alone_and_the_order_of_frames_does_not_matter():
    first = frames()
    second = [replace(r, detections=r.detections.above(0.1)) for r in first]
    pairs = paired_intervals(first, second[::-1], SCORING, (0.5, 0.5))
    pair = pairs["ap50"]
    assert pair.difference.value == pytest.approx(pair.second.value - pair.first.value)
    assert pair.difference.high - pair.difference.low < (pair.first.high - pair.first.low) / 2


def test_a_model_that_finds_everything_is_called_higher():
    first = frames()
    perfect = [
        replace(r, detections=Detections(r.truth_xyxy, np.full(len(r.truth_xyxy), 0.9), r.truth_class_ids))
        for r in first
    ]
    pair = paired_intervals(first, perfect, SCORING, (0.5, 0.5))["ap50"]
    assert pair.second.value == pytest.approx(1.0)
    assert in_words("ap50", pair).startswith("ap50: the second is higher: +")
    assert pair.p < 0.05


def test_other_frames_or_other_truth_are_refused():
    first = frames()
    with pytest.raises(InputError, match="not scored on the same frames: 30 and 29 frames, 1 of the first"):
        in_same_order(first, first[:-1])
    moved = [replace(first[0], truth_xyxy=first[0].truth_xyxy + 1), *first[1:]]
    if len(first[0].truth_xyxy):
        with pytest.raises(InputError, match=r"frame f0: .* different truth"):
            in_same_order(first, moved)
    with pytest.raises(InputError, match="different truth"):
        in_same_order(first, [replace(first[0], group="another"), *first[1:]])


def test_what_the_data_can_show():
    assert detectable(0.01) == pytest.approx(0.028016, abs=1e-5)  # (1.95996 + 0.84162) / 100
    assert patients_needed(0.01, 95) == 187  # 95 * (0.028016 / 0.02) ** 2
    assert (detectable(None), patients_needed(None, 95), detectable(0.0)) == (None, None, None)


def test_wilcoxon_over_three_splits_cannot_fall_below_a_quarter():
    p, least = signed_rank([0.77, 0.81, 0.79], [0.82, 0.83, 0.82])
    assert (p, least) == (0.25, 0.25)
    assert signed_rank([0.5] * 3, [0.5] * 3) == (None, 0.25)
    p, least = signed_rank(list(range(8)), [value + 1 + 0.1 * value for value in range(8)])
    assert (p, least) == (pytest.approx(2**-7), 2**-7)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Interval(-0.01, -0.04, 0.03), "ap50: no evidence of a difference: -0.010 [-0.040, 0.030] (1 training a side)"),
        (Interval(-0.05, -0.09, -0.01), "ap50: the second is lower: -0.050 [-0.090, -0.010] (1 training a side)"),
        (Interval(0.05, 0.0004, 0.09), "ap50: the second is higher: +0.0500 [0.0004, 0.0900] (1 training a side)"),
        (Interval(-0.002, -0.004, -0.00003), "ap50: the second is lower: -0.00200 [-0.00400, -0.00003] (1 training a "
                                             "side)"),
        (Interval(0.05, -0.0004, 0.09), "ap50: no evidence of a difference: +0.0500 [-0.0004, 0.0900] (1 training a "
                                        "side)"),
        (Interval(0.05, 0.0, 0.09), "ap50: no evidence of a difference: +0.050 [0.000, 0.090] at the edge (1 training "
                                    "a side)"),
        (Interval(-0.05, -0.09, -1e-9), "ap50: the second is lower: -0.050 [-0.090, 0.000] at the edge (1 training a "
                                        "side)"),
        (Interval(None), "ap50: not defined on these frames"),
        (Interval(0.1), "ap50: +0.100, without an interval"),
    ],
)
def test_plain_words_show_the_digit_that_decides_and_the_trainings_they_rest_on(difference, words):
    assert in_words("ap50", Pair(Interval(0.5), Interval(0.5), difference, None, None, None)) == words
