"""The geometry of a histogram with thresholds on it, for the preview page; nothing is drawn here.

Horizontal places are percent of the chart's width and vertical ones pixels, so that one SVG fits a phone and a desk
with its text at a readable size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_utils.pages import round_steps
from data_utils.records import FloatArray

PLOT_HEIGHT = 150.0  # pixels of the highest bar
LEAST_BAR = 2.0  # pixels: a single frame beside thousands stays visible
N_TICKS = 6  # about
MARGIN = 0.03  # share of the span left free beside data and thresholds
LEAST_SPAN = 0.2  # an axis spans at least this share of its largest value, so that equal scores have a place
WIDE_GAP = 0.13  # share of the axis between two ticks: 40 pixels on a phone, enough for "50,000"
LEAST_GAP = 0.1  # enough for 0 beside the first power of ten


@dataclass(frozen=True)
class Axis:
    """The x axis of a score: from `floor` or the least score to `ceiling` or the largest, thresholds included.

    log_from: None for a linear axis; else places go by log10(1 + score / log_from), which has room for 0. least_span:
    the axis spans at least this much. bar_step: bars are a multiple of this wide (linear axes of whole numbers).
    n_bars: about how many there are.
    """

    floor: float = 0.0
    from_floor: bool = False
    ceiling: float | None = None
    log_from: float | None = None
    least_span: float = 1.0
    bar_step: float = 0.0
    n_bars: int = 40

    def place(self, score: float) -> float:
        """Return where a score lies on the axis, in units of the axis (not yet percent)."""
        return score if self.log_from is None else math.log10(1 + score / self.log_from)

    def places(self, scores: FloatArray) -> FloatArray:
        """Do as `place` for scores [N]."""
        return scores if self.log_from is None else np.log10(1 + scores / self.log_from)

    def score(self, place: float) -> float:
        """Return the score at a place; the inverse of `place`."""
        return place if self.log_from is None else self.log_from * (10**place - 1)


@dataclass(frozen=True)
class Bar:
    """`count` frames score from `low` to `high`. x, width: percent; height: pixels."""

    low: float
    high: float
    count: int
    is_excluded: bool
    x: float
    width: float
    height: float


@dataclass(frozen=True)
class Tick:
    """A label on an axis. at: percent from the left, or pixels above the base line."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A histogram. line_low, line_high: percent at which the thresholds stand, None for a threshold that is off."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    line_low: float | None
    line_high: float | None
    n_kept: int
    n_excluded: int


def score_chart(
    scores: NDArray[np.float64],
    low: float | None,
    high: float | None,
    axis: Axis,
    label: Callable[[float], str],
) -> Chart:
    """Lay out the histogram of finite scores [N], N >= 1; scores < `low` or > `high` are excluded.

    No bar straddles a threshold: bars are counted from it outwards. Every score is in exactly one bar.
    """
    assert len(scores), "a chart of nothing"
    start, end = _ends(scores, low, high, axis)
    below = scores < low if low is not None else np.zeros(len(scores), dtype=bool)
    above = scores > high if high is not None else np.zeros(len(scores), dtype=bool)
    n_excluded = int(np.count_nonzero(below | above))
    line_low, line_high = (None if cut is None else axis.place(cut) for cut in (low, high))
    edges = _edges_of_parts(start, end, line_low, line_high, axis)
    counts = [_count(axis.places(scores[part]), edges[i]) for i, part in enumerate((below, ~(below | above), above))]
    most = max(max(part, default=0) for part in counts)
    places = [place for part in edges for place in part]
    first, last = places[0], places[-1]

    def percent(place: float) -> float:
        return round(100 * (place - first) / (last - first), 3)

    bars = tuple(
        Bar(
            low=max(axis.floor, axis.score(left)),
            high=axis.score(right),
            count=count,
            is_excluded=part != 1,
            x=percent(left),
            width=round(percent(right) - percent(left), 3),
            height=round(max(PLOT_HEIGHT * count / most, LEAST_BAR), 1) if count else 0.0,
        )
        for part in range(3)
        for count, left, right in zip(counts[part], edges[part][:-1], edges[part][1:], strict=True)
    )
    return Chart(
        bars=bars,
        x_ticks=tuple(Tick(percent(axis.place(tick)), label(tick)) for tick in _x_ticks(first, last, axis)),
        y_ticks=tuple(Tick(round(PLOT_HEIGHT * tick / most, 1), f"{tick:,.0f}") for tick in _count_ticks(most)),
        line_low=None if line_low is None else percent(line_low),
        line_high=None if line_high is None else percent(line_high),
        n_kept=len(scores) - n_excluded,
        n_excluded=n_excluded,
    )


def _ends(scores: NDArray[np.float64], low: float | None, high: float | None, axis: Axis) -> tuple[float, float]:
    """Return the axis' first and last place."""
    shown = [float(scores.min()), float(scores.max()), *(cut for cut in (low, high) if cut is not None)]
    start = axis.floor if axis.from_floor else min(shown)
    end = max(shown) if axis.ceiling is None else max(*shown, axis.ceiling)
    missing = max(axis.least_span, LEAST_SPAN * end) - (end - start)
    if missing > 0:
        start, end = max(axis.floor, start - missing / 2), end + missing / 2
    first, last = axis.place(start), axis.place(end)
    margin = MARGIN * (last - first)
    if not axis.from_floor:
        first = max(axis.place(axis.floor), first - margin)
    return first, last if axis.ceiling is not None and end <= axis.ceiling else last + margin


def _edges_of_parts(
    start: float, end: float, line_low: float | None, line_high: float | None, axis: Axis
) -> tuple[list[float], list[float], list[float]]:
    """Return the edges of the bars below the low threshold, of those kept, and of those above the high threshold.

    The part that is kept has at least one bar, for the scores that are equal to a threshold at the axis' end.
    """
    width = max((end - start) / axis.n_bars, 1e-12)
    if axis.bar_step:
        width = math.ceil(width / axis.bar_step - 1e-9) * axis.bar_step
    stop = math.inf if axis.ceiling is None else max(end, axis.place(axis.ceiling))
    above = [] if line_high is None else _edges(line_high, end, width, stop)
    if line_low is None and line_high is not None:
        kept = _edges_leftwards(start, line_high, width, axis)
        return [], kept if len(kept) > 1 else [line_high - width, line_high], above
    kept_start = start if line_low is None else line_low
    kept_end, kept_stop = (end, stop) if line_high is None else (line_high, line_high)
    kept = _edges(kept_start, kept_end, width, kept_stop)
    if len(kept) < 2:
        kept.append(kept_start + width)
    return [] if line_low is None else _edges_leftwards(start, line_low, width, axis), kept, above


def _edges(start: float, end: float, width: float, stop: float = math.inf) -> list[float]:
    """Return edges `width` apart, from `start` to the first at or after `end`, but none beyond `stop`."""
    n = max(math.ceil((end - start) / width - 1e-9), 1 if end > start else 0)
    return [min(stop, start + k * width) for k in range(n + 1)]


def _edges_leftwards(start: float, end: float, width: float, axis: Axis) -> list[float]:
    """Return edges `width` apart that end at `end`, from the first at or before `start`, not below the axis' floor."""
    floor = axis.place(axis.floor)
    return [max(floor, end - (edge - start)) for edge in _edges(start, end, width)[::-1]]


def _count(places: FloatArray, edges: list[float]) -> list[int]:
    """Count places between edges; rounding must not lose one that lies on the first or the last."""
    if len(edges) < 2:
        assert not len(places), "scores beyond the end of their axis"
        return []
    return np.histogram(np.clip(places, edges[0], edges[-1]), edges)[0].tolist()


def _x_ticks(first: float, last: float, axis: Axis) -> list[float]:
    """Return round scores between two places: even steps, or the rounder the more decades; labels must not touch."""
    low, high = max(axis.score(first), 0.0), axis.score(last)
    ticks: list[float] = []
    if axis.log_from is not None:
        exponents = range(math.floor(math.log10(max(low, axis.log_from))), math.ceil(math.log10(high)) + 1)
        for factors in ((1, 2, 5), (1, 3), (1,)):
            ticks = [round(factor * 10.0**exponent, 12) for exponent in exponents for factor in factors]
            ticks = [tick for tick in ([0.0, *ticks] if low == 0 else ticks) if low <= tick <= high]
            if _least_gap(ticks, first, last, axis) >= WIDE_GAP:
                break
    if len(ticks) < 2:
        ticks = round_steps(low, high, N_TICKS)
    roomy = ticks[:1]
    for tick in ticks[1:]:
        if _least_gap([roomy[-1], tick], first, last, axis) >= LEAST_GAP:
            roomy.append(tick)
    return roomy


def _least_gap(ticks: list[float], first: float, last: float, axis: Axis) -> float:
    """Return the least distance of neighbouring ticks as a share of the axis; infinite for fewer than two."""
    places = [axis.place(tick) for tick in ticks]
    return min((b - a for a, b in itertools.pairwise(places)), default=math.inf) / (last - first)


def _count_ticks(most: int) -> list[float]:
    return [tick for tick in round_steps(0, most, 4) if tick == int(tick)]
