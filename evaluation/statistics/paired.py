"""Two models on the same frames: differences with intervals from resampling their patients together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm, wilcoxon

from data_utils.errors import InputError
from data_utils.records import FrameResult
from evaluation.statistics.bootstrap import (
    LEVEL,
    Interval,
    Resampled,
    difference_texts,
    p_of_no_difference,
    resample,
    units_of,
)
from evaluation.statistics.headline import Scoring, headline_statistics

POWER = 0.8
ASKED = 0.02  # the difference for which the patients needed are given


@dataclass(frozen=True)
class Pair:
    """One measure of two models, and second minus first. p: two-sided, by the bootstrap; None where not defined.

    detectable: the smallest true difference that this many patients would show in 80 % of studies, at the 5 % level.
    patients_for_asked: how many it would take for a difference of `ASKED`.
    """

    first: Interval
    second: Interval
    difference: Interval
    p: float | None
    detectable: float | None
    patients_for_asked: int | None


def paired_intervals(
    first: Sequence[FrameResult],
    second: Sequence[FrameResult],
    scoring: Scoring,
    thresholds: tuple[float | None, float | None],
) -> dict[str, Pair]:
    """Compare two models, frame by frame the same, on every headline number of `headline_statistics`.

    thresholds: of each model, for the numbers that count detections above one. Raises InputError when frames or truth
    differ.
    """
    second = in_same_order(first, second)
    units, names = units_of(first)
    own = headline_statistics(first, scoring, thresholds[0], units)
    other = headline_statistics(second, scoring, thresholds[1], units)
    n, section = len(names), scoring.eval
    mine, theirs = (resample(statistics, n, section.resamples, section.bootstrap_seed) for statistics in (own, other))
    return {name: _pair(mine[name], theirs[name], n) for name in own}


def _pair(first: Resampled, second: Resampled, n_units: int) -> Pair:
    difference = second - first
    measured = difference.interval()
    p = None if measured.low is None else p_of_no_difference(difference.resampled, difference.left_one_out)
    needed = patients_needed(measured.se, n_units)
    return Pair(first.interval(), second.interval(), measured, p, detectable(measured.se), needed)


def in_same_order(first: Sequence[FrameResult], second: Sequence[FrameResult]) -> list[FrameResult]:
    """Return `second` in the order of `first`; raises InputError when frames or their truth are not the same."""
    by_stem = {result.stem: result for result in second}
    missing = [result.stem for result in first if result.stem not in by_stem]
    if missing or len(second) != len(first):
        raise InputError(
            f"the two models were not scored on the same frames: {len(first)} and {len(second)} frames, "
            f"{len(missing)} of the first not in the second{', such as ' + missing[0] if missing else ''}; evaluate "
            "both on one list"
        )
    ordered = [by_stem[result.stem] for result in first]
    for a, b in zip(first, ordered, strict=True):
        same_truth = np.array_equal(a.truth_xyxy, b.truth_xyxy) and np.array_equal(a.truth_class_ids, b.truth_class_ids)
        if not same_truth or a.group != b.group:
            raise InputError(f"frame {a.stem}: the two models were scored against different truth; evaluate both again")
    return ordered


def sized_as(first: Sequence[FrameResult], second: Sequence[FrameResult]) -> list[FrameResult]:
    """Return `second`, in the order of `first`, with sizes counted in pixels of its inputs (or HR targets).

    Size cutoffs in input pixels mean another object at another input side; a comparison needs one meaning for both.
    Raises InputError as `in_same_order` does.
    """
    ordered = in_same_order(first, second)
    return [replace(b, input_size=a.input_size) for a, b in zip(first, ordered, strict=True)]


def detectable(se: float | None) -> float | None:
    """Return the true difference that a test at 5 % finds with a power of 80 %: (z_0.975 + z_0.8) standard errors."""
    return None if not se else float((norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER)) * se)


def patients_needed(se: float | None, n_patients: int, asked: float = ASKED) -> int | None:
    """Return how many patients would make `asked` the detectable difference, the error falling with their root."""
    smallest = detectable(se)
    return None if smallest is None else math.ceil(n_patients * (smallest / asked) ** 2)


def signed_rank(first: Sequence[float], second: Sequence[float]) -> tuple[float | None, float]:
    """Return the exact two-sided Wilcoxon p over pairs (splits or seeds), and the least it can be with so many.

    Pairs without a difference are left out, as Wilcoxon did; p is None where none is left.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    differences = differences[differences != 0]
    least = 2.0 ** (1 - len(first)) if len(first) else 1.0
    if not len(differences):
        return None, least
    tested: Any = wilcoxon(differences, method="exact" if len(differences) <= 50 else "auto")
    return float(tested.pvalue), least


def in_words(name: str, pair: Pair, trainings: int = 1) -> str:
    """Say what the data show: "no evidence of a difference: -0.010 [-0.040, 0.030] (1 training a side)"."""
    difference = pair.difference
    if difference.value is None:
        return f"{name}: not defined on these frames"
    if difference.low is None or difference.high is None:
        same = ", the same in every resample" if difference.se == 0 else ", without an interval"
        return f"{name}: {difference.value:+.3f}{same}"
    bounds = " ".join(difference_texts(difference.value, difference.low, difference.high))
    bounds += f" ({a_side(trainings)})"
    if difference.low > 0 or difference.high < 0:
        return f"{name}: the second is {'higher' if difference.value > 0 else 'lower'}: {bounds}"
    return f"{name}: no evidence of a difference: {bounds}"


def a_side(trainings: int) -> str:
    """Say on how many trainings each side of a comparison rests."""
    return f"{trainings} training{'s' * (trainings != 1)} a side"


def pooled(pairs_of_splits: Sequence[Mapping[str, Pair]], name: str) -> tuple[list[float], list[float]]:
    """Return the values of both models over the splits or seeds in which both are defined."""
    values = [(pairs[name].first.value, pairs[name].second.value) for pairs in pairs_of_splits if name in pairs]
    defined = [(a, b) for a, b in values if a is not None and b is not None]
    return [a for a, _ in defined], [b for _, b in defined]
