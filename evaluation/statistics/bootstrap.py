"""Intervals by resampling patients: percentile and BCa (Efron 1987), for any number that weights of patients give.

Both read the resamples a little further out than at 2.5 and 97.5 %, because a number that rests on few patients varies
more than its own resamples do (`student_tails`); `python -m evaluation.coverage_study` shows what that gives.

Legend: R resamples; U units. A unit is what the split never cuts, a patient unless dataset.group says otherwise:
frames of one patient resemble each other, so drawing frames one by one would give intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from data_utils.records import FloatArray, FrameResult, IntArray

Statistic = Callable[[FloatArray], FloatArray]  # weights float64 [R, U] -> values [R], NaN where not defined
LEVEL = 0.95
LEAST_UNITS = 2  # fewer cannot be resampled
LEAST_DEGREES = 5.0  # of freedom: fewer would ask for ends that 2,000 resamples cannot show
_NO_SPREAD = 1e-12
MOST_DIGITS = 6  # of a difference whose interval nearly touches 0
LEAST_DEFINED = 0.5  # share of the resamples in which a number must be defined to get an interval


@dataclass(frozen=True)
class Interval:
    """A number and its 95 % intervals, None where it, or an interval of it, is not defined.

    low, high: percentile. bca_low, bca_high: bias-corrected and accelerated. se: standard deviation of the resamples.
    n_resamples: those in which the number was defined.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    bca_low: float | None = None
    bca_high: float | None = None
    se: float | None = None
    n_resamples: int = 0


@dataclass(frozen=True, eq=False)
class Resampled:
    """A number on the data themselves, on resamples, float64 [R], and with each unit left out, float64 [U].

    Two of the same resamples can be subtracted: that is the paired difference. NaN where not defined.
    """

    value: float
    resampled: FloatArray
    left_one_out: FloatArray

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(
            self.value - other.value, self.resampled - other.resampled, self.left_one_out - other.left_one_out
        )

    def interval(self) -> Interval:
        """Return the value with its intervals; alone where there are no resamples."""
        if not len(self.resampled):
            return Interval(_defined(self.value))
        return interval(self.value, self.resampled, self.left_one_out)


def units_of(results: Sequence[FrameResult]) -> tuple[IntArray, list[str]]:
    """Return int64 [S], the unit of each frame, numbered from 0, and the units' names.

    A frame whose group is not known is a unit of its own.
    """
    names = [result.group or f"frame {result.stem}" for result in results]
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names], dtype=np.int64), list(known)


def resample_weights(n_units: int, n_resamples: int, seed: int) -> FloatArray:
    """Return float64 [R, U]: how often each unit is drawn when U are drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_resamples).astype(np.float64)


def resample(
    statistics: Mapping[str, Statistic], n_units: int, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Resampled]:
    """Return each statistic on the data themselves and on resamples, the same for all of one seed and size."""
    if not n_units:
        return {name: Resampled(np.nan, np.zeros(0), np.zeros(0)) for name in statistics}
    ones, none = np.ones((1, n_units)), np.zeros(0)
    if n_resamples == 0 or n_units < LEAST_UNITS:
        return {name: Resampled(float(statistic(ones)[0]), none, none) for name, statistic in statistics.items()}
    weights, left_out = resample_weights(n_units, n_resamples, seed), 1.0 - np.eye(n_units)
    return {
        name: Resampled(float(statistic(ones)[0]), statistic(weights), statistic(left_out))
        for name, statistic in statistics.items()
    }


def intervals(
    statistics: Mapping[str, Statistic], n_units: int, n_resamples: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Return each statistic's value and intervals, all from the same resamples; without resamples the values alone."""
    return {name: one.interval() for name, one in resample(statistics, n_units, n_resamples, seed).items()}


def interval(value: float, resampled: FloatArray, left_one_out: FloatArray, level: float = LEVEL) -> Interval:
    """Return the intervals of `value` from its resamples [R] and its values with each unit left out [U].

    There is none where the number is hardly ever defined, or the same in every resample.
    """
    values = resampled[np.isfinite(resampled)]
    if not np.isfinite(value) or len(values) < LEAST_DEFINED * len(resampled):
        return Interval(_defined(value), n_resamples=len(values))
    if len(values) < 2:  # one value has no spread, which is not the same as none
        return Interval(value, n_resamples=len(values))
    spread = float(values.std(ddof=1))
    if spread < _NO_SPREAD:  # all found, or none: resamples cannot say how far that carries
        return Interval(value, se=0.0, n_resamples=len(values))
    tails = student_tails(left_one_out, level)
    low, high = np.quantile(values, tails)
    bca_low, bca_high = np.quantile(values, _bca_tails(value, values, left_one_out, tails))
    return Interval(value, float(low), float(high), float(bca_low), float(bca_high), spread, len(values))


def difference_texts(value: float, low: float, high: float, digits: int = 3, sign: str = "") -> tuple[str, str]:
    """Write a difference and its interval so that what decides can be read: ("+0.0021", "[0.0004, 0.0038]").

    Digits are added until no end of the interval that is not 0 reads as 0; an end that is 0, or still reads so with
    `MOST_DIGITS`, is said to be "at the edge". sign: "+" writes one before the ends, too.
    """
    telling = next((n for n in range(digits, MOST_DIGITS + 1) if round(low, n) and round(high, n)), None)
    shown = telling or digits
    ends = ", ".join(f"{round(end, shown) + 0.0:{sign}.{shown}f}" for end in (low, high))  # + 0.0: never -0.000
    return f"{value:+.{shown}f}", f"[{ends}]" + ("" if telling else " at the edge")


def student_tails(left_one_out: FloatArray, level: float = LEVEL) -> FloatArray:
    """Return the two shares of the resamples at which an interval of `level` ends.

    Hesterberg's expanded percentiles (2015, section 5.2) put Student's t in the place of the normal distribution. Its
    degrees of freedom are here not the number of units but of those that matter, less one: (sum d^2)^2 / sum d^4 over
    the deviations d of the values with each unit left out, which is k when k units move the number alike.
    """
    degrees = _degrees(left_one_out)
    if degrees is None:
        return np.array([(1 - level) / 2, (1 + level) / 2])
    tail = float(norm.cdf(np.sqrt((degrees + 1) / degrees) * t.ppf((1 - level) / 2, degrees)))
    return np.array([tail, 1 - tail])


def p_of_no_difference(resampled: FloatArray, left_one_out: FloatArray) -> float:
    """Return the two-sided p of "the difference is 0" that belongs to the percentile interval: 1 less its level at 0.

    The smaller share of the resamples beyond 0 goes through `student_tails` backwards. One is added to both counts, so
    that it is never 0 (Davison and Hinkley 1997, eq. 4.11).
    """
    values = resampled[np.isfinite(resampled)]
    beyond = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    share = min((beyond + 1) / (len(values) + 1), 0.5)
    degrees = _degrees(left_one_out)
    if degrees is None:
        return 2 * share
    return float(2 * t.cdf(norm.ppf(share) / np.sqrt((degrees + 1) / degrees), degrees))


def _degrees(left_one_out: FloatArray) -> float | None:
    """Return the degrees of freedom of `student_tails`; None where no unit moves the number."""
    jackknife = left_one_out[np.isfinite(left_one_out)]
    deviations = jackknife - jackknife.mean() if len(jackknife) else np.zeros(1)
    squares = (deviations**2).sum()
    return None if squares < _NO_SPREAD**2 else max(squares**2 / (deviations**4).sum() - 1, LEAST_DEGREES)


def _bca_tails(value: float, values: FloatArray, left_one_out: FloatArray, tails: FloatArray) -> FloatArray:
    """Return the tails to read instead of `tails`: Efron and Tibshirani 1993, eq. 14.10, 14.14 and 14.15."""
    below = np.count_nonzero(values < value) + np.count_nonzero(values == value) / 2
    share = np.clip(below / len(values), 1 / (len(values) + 1), len(values) / (len(values) + 1))
    bias = norm.ppf(share)
    jackknife = left_one_out[np.isfinite(left_one_out)]
    deviations = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    scale = (deviations**2).sum() ** 1.5
    acceleration = (deviations**3).sum() / (6 * scale) if scale > 0 else 0.0
    z = bias + norm.ppf(tails)
    denominator = 1 - acceleration * z
    if (denominator <= 0).any():  # so skewed that BCa is not defined; the percentiles remain
        return tails
    return norm.cdf(bias + z / denominator)


def _defined(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
