"""Factors by hand, and what holds for every list: nothing lost, nothing above the cap, no class pulling away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.balance.repeats import class_factors, image_factors, imbalance, repeat_counts

FPUS23 = {"Head": 4370, "Abdomen": 6435, "Arms": 4849, "Legs": 4572}  # boxes of a public fetal ultrasound set


def one_class_each(*counts: int) -> np.ndarray:
    return np.repeat(np.eye(len(counts), dtype=bool), counts, axis=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_factors_by_hand():
    presence = one_class_each(12, 6, 1, 0)
    assert class_factors(presence, cap=4, power=1).tolist() == [1, 2, 4, 1]  # 12/12, 12/6, 12/1 capped, absent
    assert class_factors(presence, cap=4, power=0.5).tolist() == [1, 2**0.5, 12**0.5, 1]
    mixed = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
    assert image_factors(mixed, np.array([1, 2, 3.5])).tolist() == [1, 2, 3.5, 1]  # the rarest decides; healthy: 1


def test_whole_factors_need_no_chance():
    counts = repeat_counts(one_class_each(12, 6, 1), 4, 1, rng())
    assert counts.tolist() == [1] * 12 + [2] * 6 + [4]


@pytest.mark.parametrize("seed", range(5))
def test_fractions_are_right_to_within_one_image_of_a_kind(seed: int):
    counts = repeat_counts(one_class_each(100, 70), 4, 1, rng(seed))
    assert set(counts[100:].tolist()) == {1, 2}
    assert counts[:100].tolist() == [1] * 100
    assert counts[100:].sum() in (99, 100, 101)  # 70 * 100 / 70


def test_which_images_are_rounded_up_is_drawn_without_favour():
    raised = sum(repeat_counts(one_class_each(15, 10), 4, 1, rng(seed))[15:] - 1 for seed in range(400))
    assert np.abs(raised / 400 - 0.5).max() < 0.12  # 15/10: half of them; four standard deviations are 0.1


def test_the_published_ultrasound_counts_become_even():
    presence = one_class_each(*FPUS23.values())
    counts = repeat_counts(presence, 4, 1, rng(42))
    before, after = presence.sum(axis=0), counts @ presence
    assert imbalance(before) == pytest.approx(6435 / 4370)
    assert imbalance(after) < 1.001
    assert counts.sum() / len(counts) < 1.3
    assert counts.sum() == pytest.approx(4 * 6435, abs=3)


def test_ultrasound_counts_in_shared_images_come_nearer():
    numbers = np.array(list(FPUS23.values()))
    presence = rng(1).random((15_000, 4)) < numbers / 15_000
    counts = repeat_counts(presence, 2, 1, rng(42))
    assert imbalance(counts @ presence) < 0.9 * imbalance(presence.sum(axis=0))
    assert counts.sum() / len(counts) < 1.3
    assert (counts[~presence.any(axis=1)] == 1).all()


lists = st.integers(0, 4).flatmap(lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), max_size=40).map(
    lambda rows: np.array(rows, bool).reshape(len(rows), n)))  # fmt: skip


@given(lists, st.integers(1, 6), st.floats(0.05, 1), st.integers(0, 9))
def test_every_image_stays_within_the_cap_and_no_class_pulls_away(presence, cap, power, seed):
    counts = repeat_counts(presence, cap, power, rng(seed))
    assert counts.shape == (len(presence),)
    assert counts.min(initial=1) >= 1
    assert counts.max(initial=1) <= cap
    assert (counts[~presence.any(axis=1)] == 1).all()
    assert imbalance(counts @ presence) <= imbalance(presence.sum(axis=0))
    assert (counts == repeat_counts(presence, cap, power, rng(seed))).all()
    factors = image_factors(presence, class_factors(presence, cap, power))
    assert (np.abs(counts - factors) < 1).all() or (counts == 1).all()


@given(lists, st.integers(1, 6), st.floats(0.05, 1))
def test_the_exact_factors_never_make_the_imbalance_grow(presence, cap, power):
    wanted = image_factors(presence, class_factors(presence, cap, power))
    after = wanted @ presence
    assert imbalance(after) <= imbalance(presence.sum(axis=0)) * (1 + 1e-9)


def test_imbalance_by_hand():
    assert imbalance(np.array([6, 0, 2])) == 3
    assert imbalance(np.array([0, 5])) == 1
    assert imbalance(np.array([], int)) == 1


def test_rounding_that_would_make_it_worse_is_drawn_again():
    presence = np.array([[1, 1, 0], [0, 1, 1]], bool)  # both images want 1.41; (1, 2) would turn 2 : 1 into 3 : 1
    drawn = {tuple(repeat_counts(presence, 3, 0.5, rng(seed)).tolist()) for seed in range(40)}
    assert drawn == {(1, 1), (2, 2)}
