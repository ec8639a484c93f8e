"""The intervals: scipy as oracle, whole patients drawn, and what cannot be resampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import frame_result
from scipy.stats import bootstrap as scipy_bootstrap

from evaluation.scoring.ap import ratio
from evaluation.statistics.bootstrap import (
    interval,
    intervals,
    p_of_no_difference,
    resample_weights,
    student_tails,
    units_of,
)

VALUES = np.random.default_rng(5).exponential(size=40)


def mean(weights):
    return weights @ VALUES / weights.sum(axis=1)


def test_the_intervals_are_scipys_at_the_tails_that_few_units_ask_for():
    measured = intervals({"mean": mean}, len(VALUES), 20_000)["mean"]
    level = 1 - 2 * student_tails(mean(1.0 - np.eye(len(VALUES))))[0]
    assert 0.95 < level < 0.99
    for method, low, high in (
        ("percentile", measured.low, measured.high),
        ("BCa", measured.bca_low, measured.bca_high),
    ):
        theirs = scipy_bootstrap(
            (VALUES,), np.mean, n_resamples=20_000, method=method, confidence_level=level, rng=0
        ).confidence_interval
        assert (low, high) == (pytest.approx(theirs.low, abs=0.02), pytest.approx(theirs.high, abs=0.02))
    assert measured.value == pytest.approx(VALUES.mean())
    assert measured.se == pytest.approx(VALUES.std() / np.sqrt(len(VALUES)), rel=0.05)


def test_the_same_seed_draws_the_same_patients_for_every_number():
    twice = intervals({"a": mean, "b": lambda weights: 2 * mean(weights)}, len(VALUES), 100)
    assert twice["b"].low == pytest.approx(2 * twice["a"].low)
    assert (resample_weights(7, 50, 1) == resample_weights(7, 50, 1)).all()
    assert (resample_weights(7, 50, 1).sum(axis=1) == 7).all()
    assert not (resample_weights(7, 50, 1) == resample_weights(7, 50, 2)).all()


def test_frames_of_one_group_are_drawn_together_and_unknown_ones_alone():

    results = [
        replace(frame_result(stem=stem), group=group) for stem, group in (("a", "p"), ("b", ""), ("c", "p"), ("d", ""))
    ]
    units, names = units_of(results)
    assert units.tolist() == [0, 1, 0, 2]
    assert len(names) == 3


def test_what_cannot_be_resampled_has_a_value_and_no_interval():
    one = intervals({"mean": lambda weights: np.ones(len(weights))}, 1, 100)["mean"]
    assert (one.value, one.low, one.bca_low, one.se) == (1.0, None, None, None)
    assert intervals({"mean": mean}, 40, 0)["mean"].low is None
    assert intervals({"none": mean}, 0)["none"].value is None


def test_a_number_hardly_ever_defined_gets_no_interval():
    def rare(weights):  # of the first unit alone: absent from a third of the resamples, or from nearly all
        return ratio(weights[:, 0], weights[:, 0])

    kept = intervals({"rare": rare}, 5, 400)["rare"]
    assert (kept.value, kept.low, kept.se) == (1.0, None, 0.0)  # defined, and always the same
    assert 200 < kept.n_resamples < 320
    mostly_absent = interval(1.0, np.append(np.full(90, np.nan), np.ones(10)), np.ones(5))
    assert (mostly_absent.value, mostly_absent.low, mostly_absent.n_resamples) == (1.0, None, 10)
    assert interval(np.nan, np.ones(10), np.ones(5)).value is None


def test_a_number_that_is_the_same_in_every_resample_gets_no_interval():
    same = interval(1.0, np.full(100, 1.0), np.full(10, 1.0))
    assert (same.value, same.low, same.bca_high, same.se) == (1.0, None, None, 0.0)


def test_the_fewer_units_matter_the_further_out_an_interval_ends():
    assert student_tails(np.full(10, 0.5)).tolist() == pytest.approx([0.025, 0.975])
    assert student_tails(np.array([])).tolist() == pytest.approx([0.025, 0.975])
    alike = student_tails(np.tile([0.4, 0.6], 500))  # a thousand units of one weight: the normal distribution
    assert alike == pytest.approx([0.025, 0.975], abs=2e-4)
    # Twenty units of one weight: t with 19 degrees of freedom, 2.093 * sqrt(20 / 19) = 2.147 standard deviations.
    assert student_tails(np.tile([0.4, 0.6], 10)) == pytest.approx([0.0159, 0.9841], abs=1e-4)


def test_p_belongs_to_the_percentile_interval():
    alike = np.tile([0.4, 0.6], 5000)
    assert p_of_no_difference(np.arange(1, 100), alike) == pytest.approx(2 / 100, abs=1e-4)
    assert p_of_no_difference(np.array([-1.0, 1.0, np.nan]), alike) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    for few in (np.tile([0.4, 0.6], 5), np.append(np.zeros(50), np.ones(7)), alike):
        for shift in np.linspace(1.5, 4.5, 25):
            resampled = rng.normal(shift, 1.0, 4000)
            low = interval(shift, resampled, few).low
            p = p_of_no_difference(resampled, few)
            assert abs(p - 0.05) < 0.006 or (low > 0) == (p < 0.05), (shift, low, p)
