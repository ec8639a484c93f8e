"""The search over whole groups: its costs by hand, brute force as the oracle, the same answer everywhere."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from data_utils.splits import search
from data_utils.splits.search import SCALE, Problem, draw, trains


def problem(
    counted: list[tuple[int, int]], *, shares=(0.89, 0.07, 0.04), held_out: int | None = None, min_train: int = 0
) -> Problem:
    """`counted`: frames of each group in train, and in val or test; one stratum holds all, another odd groups."""
    frames = np.array([[here, there, there] for here, there in counted])
    odd = frames[:, 0] * (np.arange(len(frames)) % 2)
    millionths = np.array([round(SCALE * share) for share in shares])
    return Problem(
        counted=frames,
        strata=np.stack([frames[:, 0], odd], axis=1),
        weights=np.ones(2),
        shares=millionths,
        fractions=np.array(shares),
        max_held_out=int(frames[:, 1].sum()) if held_out is None else held_out,
        min_train=min_train,
        eligible=frames[:, 1] > 0,
    )


def heavy_tailed(n_groups: int, seed: int, *, healthy: bool) -> list[tuple[int, int]]:
    rng = random.Random(seed)
    sizes = [min(200, int(rng.paretovariate(0.8))) for _ in range(n_groups)]
    return [(size, rng.choice([0, size, rng.randint(0, size)]) if healthy else size) for size in sizes]


def test_excess_begins_beyond_two_points() -> None:
    case = problem([(1, 1)] * 100)
    frames = np.array([[89, 7, 4], [91, 6, 3], [92, 5, 3], [89, 9, 2], [88, 10, 2]])
    assert case.excess(frames).tolist() == [0, 0, SCALE * 100 // 100, 0, SCALE]
    capped = problem([(1, 1)] * 100, held_out=10)
    assert capped.excess(frames[:2]).tolist() == [SCALE, 0]
    assert problem([(1, 1)] * 100, min_train=91).excess(frames[:2]).tolist() == [2 * SCALE, 0]


def test_imbalance_is_the_squared_miss_over_the_target() -> None:
    case = problem([(10, 10), (10, 10)], shares=(0.5, 0.3, 0.2))
    assert case.targets.tolist() == [[10, 5], [6, 3], [4, 2]]
    misses = case.imbalance(np.array([[10, 5], [8, 3], [4, 5]]), np.arange(3))
    assert misses.tolist() == [0, round(1000 * 4 / 7), round(1000 * 9 / 3)]


def test_a_part_meant_to_be_twice_another_and_smaller_is_upside_down() -> None:
    case = problem([(1, 1)] * 3, shares=(0.6, 0.3, 0.1))
    assert case.is_upside_down(np.array([[6, 3, 1], [3, 3, 3], [2, 3, 1], [9, 1, 2]])).tolist() == [
        False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize("healthy", [False, True])
@pytest.mark.parametrize("shares", [(0.89, 0.07, 0.04), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1)])
def test_the_ratios_are_met_wherever_brute_force_meets_them(
    healthy: bool, shares: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to search, on heavy-tailed groups; `healthy` groups count less where they are held out."""
    possible = 0
    for seed in range(7):
        case = problem(heavy_tailed(7, seed, healthy=healthy), shares=shares)
        if case.eligible.sum() < 3:
            continue
        within = False
        for parts in itertools.product(range(3), repeat=7):
            reached = {part for part, eligible in zip(parts, case.eligible, strict=True) if eligible}
            counts = [sum(row[p] for row, part in zip(case.counted.tolist(), parts, strict=True) if part == p)
                      for p in range(3)]  # fmt: skip
            miss = max(abs(count / sum(counts) - share) for count, share in zip(counts, shares, strict=True))
            within = within or (len(reached) == 3 and miss <= 0.02 + 1e-12)
        possible += within
        for exhaustive in (10, 0):
            monkeypatch.setattr(search, "EXHAUSTIVE", exhaustive)
            parts = np.array(draw(case, np.random.default_rng(seed), set()))
            assert (int(case.excess(case.frames(parts))) == 0) == within, (seed, exhaustive)
            assert {0, 1, 2} == set(parts[case.eligible].tolist())
    assert possible > 0


def test_many_groups_meet_the_ratios_closely() -> None:
    for seed, healthy in ((1, False), (2, True)):
        case = problem(heavy_tailed(300, seed, healthy=healthy))
        frames = case.frames(np.array(draw(case, np.random.default_rng(seed), set())))
        assert frames / frames.sum() == pytest.approx([0.89, 0.07, 0.04], abs=0.02)


def test_an_exchange_is_found_where_no_single_move_is_allowed() -> None:
    case, rng = problem([(50, 50), (30, 30), (20, 20)], shares=(0.5, 0.3, 0.2)), np.random.default_rng(0)
    parts = np.array([0, 2, 1])  # any move would leave a part empty
    assert search._best_step(case, parts, *search._moves(case, rng)) is None
    assert search._improved(case, parts, rng).tolist() == [0, 1, 2]


def test_groups_train_together_again_only_where_no_others_are_within_the_ratios() -> None:
    case = problem([(1, 1)] * 4, shares=(0.5, 0.25, 0.25))
    drawn: set[tuple[bool, ...]] = set()
    for k in range(6):  # ways to choose 2 of 4 groups for training
        parts = draw(case, np.random.default_rng(k), drawn)
        assert np.bincount(parts).tolist() == [2, 1, 1]
        assert trains(parts) not in drawn
        drawn.add(trains(parts))
    assert trains(draw(case, np.random.default_rng(6), drawn)) in drawn
