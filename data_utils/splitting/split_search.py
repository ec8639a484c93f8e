"""Which part each group goes to: a seeded search over whole groups, the same on any machine.

Letters: G groups, K strata, P parts (train, val, test, in this order), A assignments, M steps. Frames are counted in
whole numbers and shares in whole millionths; costs are rounded to whole numbers before they are added, so that no
result depends on the order of a sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SCALE = 1_000_000  # one, in millionths
TOLERANCE = 20_000  # two points: by how much the share of a part may miss its ratio
GRAIN = 1_000  # one unit of imbalance, in whole numbers
EXHAUSTIVE = 10  # up to so many groups every assignment is looked at
TRIALS, FEWEST_TRIALS = 16, 4  # assignments searched for otherwise; the best balanced is taken
RESTARTS = 30  # more trials, from anywhere, while none is within two points; fewer, or none, for many groups
EFFORT = 3_200  # groups times trials: many groups need fewer trials, they differ little there
SAMPLE = 2_048  # steps looked at in one go: all where there are so few, else a random sample
PATIENCE = 2  # samples without a step that helps, before a trial ends
MAX_STEPS = 500  # of one trial; the search ends by itself long before


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be divided.

    counted [G, P]: frames each group counts for the ratio in each part. strata [G, K]: its frames in each stratum, and
    weights [K] what a stratum counts. shares [P]: of the ratio, in millionths. fractions [P]: of each stratum that a
    part should get. max_held_out: counted frames val and test may hold together. min_train: frames that must train.
    eligible [G]: every part gets one of these.
    """

    counted: Ints
    strata: Ints
    weights: NDArray[np.float64]
    shares: Ints
    fractions: NDArray[np.float64]
    max_held_out: int
    min_train: int
    eligible: NDArray[np.bool_]

    @property
    def n_groups(self) -> int:
        """G."""
        return len(self.counted)

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """Frames of each stratum meant for each part [P, K]."""
        return self.fractions[:, None] * self.strata.sum(axis=0)

    def excess(self, frames: Ints) -> Ints:
        """By how much `frames` [..., P] miss the ratios beyond two points or the limits, in millionths of a frame.

        0 means that they are within.
        """
        total = frames.sum(axis=-1, keepdims=True)
        beyond = np.abs(SCALE * frames - self.shares * total) - TOLERANCE * total
        too_many = np.maximum(frames[..., 1:].sum(axis=-1) - self.max_held_out, 0)
        too_few = np.maximum(self.min_train - frames[..., 0], 0)
        return np.maximum(beyond, 0).sum(axis=-1) + SCALE * (too_many + too_few)

    def imbalance(self, have: Ints, part: Ints | int) -> Ints:
        """Sum of (have - target)^2 / (target + 1) over the strata `have` [..., K] of `part`, in units of 1 / GRAIN."""
        target = self.targets[part]
        cost = self.weights * (have - target) ** 2 / (target + 1)
        return np.rint(GRAIN * cost).astype(np.int64).sum(axis=-1)

    def frames(self, parts: Ints) -> Ints:
        """Count the frames of each part [..., P] when groups go to `parts` [..., G]."""
        return np.stack([(parts == part) @ self.counted[:, part] for part in range(3)], axis=-1)

    def is_upside_down(self, frames: Ints) -> NDArray[np.bool_]:
        """Whether a part meant to hold twice another's frames [..., P], or more, holds fewer than that one."""
        wrong = (self.shares[:, None] >= 2 * self.shares) & (frames[..., :, None] < frames[..., None, :])
        return np.asarray(wrong.any(axis=(-2, -1)))


def draw(problem: Problem, rng: np.random.Generator, drawn: Set[tuple[bool, ...]]) -> tuple[int, ...]:
    """Return the part (0 train, 1 val, 2 test) of each group [G].

    Preferred are, in this order: assignments within two points of the ratios, those not upside down, those that train
    on other groups than those in `drawn` (see `trains`); then the best balanced of a random handful. There must be an
    eligible group for each part.
    """
    candidates = _every_assignment(problem) if problem.n_groups <= EXHAUSTIVE else _searched(problem, rng)
    frames = problem.frames(candidates)
    excess = problem.excess(frames)
    repeated = np.array([trains(parts) in drawn for parts in candidates.tolist()])
    rank = 4 * (excess > 0) + 2 * problem.is_upside_down(frames) + repeated
    best = np.flatnonzero(rank == rank.min())
    best = best[excess[best] == excess[best].min()]
    best = best[_shuffled(len(best), rng)[:TRIALS]]
    one_hot = (candidates[best][:, None, :] == np.arange(3)[:, None]).astype(np.int64)  # [A, P, G]
    balance = problem.imbalance(one_hot @ problem.strata, np.arange(3)).sum(axis=-1)
    return tuple(candidates[best[int(np.argmin(balance))]].tolist())


def trains(parts: Iterable[int]) -> tuple[bool, ...]:
    """Say for each group whether it trains: two splits that agree in this give the same model."""
    return tuple(part == 0 for part in parts)


def _every_assignment(problem: Problem) -> Ints:
    """Return all assignments [A, G] that give each part an eligible group."""
    every = np.indices((3,) * problem.n_groups).reshape(problem.n_groups, -1).T
    reached = [((every == part) & problem.eligible).any(axis=1) for part in range(3)]
    return every[np.logical_and.reduce(reached)].astype(np.int64)


def _searched(problem: Problem, rng: np.random.Generator) -> Ints:
    """Return the assignments [A, G] that a number of trials end in."""
    affordable = max(EFFORT // problem.n_groups, FEWEST_TRIALS)
    found = [_improved(problem, _started(problem, rng), rng) for _ in range(min(TRIALS, affordable))]
    for _ in range(min(RESTARTS, affordable - FEWEST_TRIALS)):
        if (problem.excess(problem.frames(np.stack(found))) == 0).any():
            break
        found.append(_improved(problem, _scattered(problem, rng), rng))
    return np.stack(found)


def _started(problem: Problem, rng: np.random.Generator) -> Ints:
    """Return parts [G]: groups in random order fill test, then val, to their fraction of what counts; the rest trains.

    So the patients held out are no others than those who train, which a start by best fit would not give: that one
    leaves the groups of a single frame to the small parts.
    """
    order = _shuffled(problem.n_groups, rng)
    counted = problem.counted[order, 1]
    before = np.cumsum(counted) - counted
    ends = counted.sum() * np.cumsum(problem.fractions[::-1])
    parts = np.zeros(problem.n_groups, dtype=np.int64)
    parts[order] = np.maximum(2 - np.searchsorted(ends, before, side="right"), 0)
    parts[order[problem.eligible[order]][:3]] = (2, 1, 0)  # one for each part, so that none goes without
    return parts


def _scattered(problem: Problem, rng: np.random.Generator) -> Ints:
    """Return parts [G] at random, of every size."""
    held_out = rng.random(2) / 2
    parts = np.searchsorted(np.cumsum(held_out), rng.random(problem.n_groups))  # 0 val, 1 test, 2 train
    parts = (parts + 1) % 3
    order = _shuffled(problem.n_groups, rng)
    parts[order[problem.eligible[order]][:3]] = (2, 1, 0)
    return parts


def _improved(problem: Problem, parts: Ints, rng: np.random.Generator) -> Ints:
    """Move single groups, and exchange two, as long as that brings the ratios or else the strata nearer."""
    failures = 0
    for _ in range(MAX_STEPS):
        step = _best_step(problem, parts, *_moves(problem, rng))
        if step is None:
            step = _best_step(problem, parts, *_exchanges(problem, parts, rng))
        if step is None:
            failures += 1
            if failures == PATIENCE or problem.n_groups**2 <= SAMPLE:  # all were looked at
                break
            continue
        one, other, part = step
        if other != problem.n_groups:
            parts[other] = parts[one]
        parts[one] = part
        failures = 0
    return parts


def _moves(problem: Problem, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return groups to move and their new part as (one, other, target), [M] each; `other` is G: nobody."""
    number = 3 * problem.n_groups
    which = np.arange(number) if number <= SAMPLE else _whole(rng.random(SAMPLE), number)
    return which % problem.n_groups, np.full(len(which), problem.n_groups), which // problem.n_groups


def _exchanges(problem: Problem, parts: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return pairs of groups to exchange as (one, other, part of other), [M] each."""
    if problem.n_groups**2 <= SAMPLE:
        one, other = np.triu_indices(problem.n_groups, 1)
    else:
        held_out = np.flatnonzero(parts)
        draws = rng.random((2, SAMPLE))
        one, other = held_out[_whole(draws[0], len(held_out))], _whole(draws[1], problem.n_groups)
    return one, other, parts[other]


def _whole(draws: NDArray[np.float64], below: int) -> Ints:
    """Turn numbers in [0, 1) into whole ones in [0, below)."""
    return (draws * below).astype(np.int64)


def _best_step(problem: Problem, parts: Ints, one: Ints, other: Ints, target: Ints) -> tuple[int, int, int] | None:
    """Return the (one, other, target) that helps most: `one` goes to `target`, `other` to where `one` was.

    one, other, target [M]; None where no step helps.
    """
    source = parts[one]
    allowed = source != target
    one, other, target, source = one[allowed], other[allowed], target[allowed], source[allowed]
    eligible = np.append(problem.eligible, False).astype(np.int64)
    reaching = np.bincount(parts[problem.eligible], minlength=3)
    change = eligible[one] - eligible[other]
    allowed = (reaching[source] - change >= 1) & (reaching[target] + change >= 1)
    one, other, target, source = one[allowed], other[allowed], target[allowed], source[allowed]
    if not len(one):
        return None
    strata, counted = _with_nobody(problem.strata), _with_nobody(problem.counted)
    one_hot = parts[:, None] == np.arange(3)
    have = one_hot.T.astype(np.int64) @ problem.strata
    frames = (one_hot * problem.counted).sum(axis=0)
    moved = strata[one] - strata[other]
    now = problem.imbalance(have, np.arange(3))
    change = problem.imbalance(have[source] - moved, source) + problem.imbalance(have[target] + moved, target)
    change -= now[source] + now[target]
    then = np.repeat(frames[None], len(one), axis=0)
    rows = np.arange(len(one))
    then[rows, source] += counted[other, source] - counted[one, source]
    then[rows, target] += counted[one, target] - counted[other, target]
    excess = problem.excess(then)
    least = excess.min()
    if least > (present := int(problem.excess(frames))):
        return None
    near = np.flatnonzero(excess == least)
    best = near[int(np.argmin(change[near]))]
    if least == present and change[best] >= 0:
        return None
    return int(one[best]), int(other[best]), int(target[best])


def _with_nobody(counts: Ints) -> Ints:
    return np.concatenate([counts, np.zeros_like(counts[:1])])


def _shuffled(n: int, rng: np.random.Generator) -> Ints:
    """Return 0..n-1 in random order; random() is the Generator's most stable stream."""
    return np.argsort(rng.random(n), kind="stable")
