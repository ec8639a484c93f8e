"""Histogram geometry: no bar straddles a threshold, no score is lost, places are as computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.prepare.preview_chart import PLOT_HEIGHT, Axis, score_chart

LINEAR = Axis(from_floor=True, ceiling=100.0, n_bars=10)
AXES = (
    LINEAR,
    Axis(log_from=1.0),
    Axis(from_floor=True, log_from=1e-4, least_span=0.001),
    Axis(bar_step=1.0, least_span=20.0),
)
SCORES = st.one_of(st.floats(0, 1), st.floats(0, 1e6)).map(lambda score: round(score, 6))


def chart_of(values, low=None, high=None, axis=LINEAR):
    return score_chart(np.array(values, dtype=np.float64), low, high, axis, str)


def test_places_and_counts_by_hand():
    chart = chart_of([5, 15, 20, 20, 55, 80, 81, 99], low=20, high=80)
    assert (chart.line_low, chart.line_high) == (20.0, 80.0)
    assert [bar.x for bar in chart.bars] == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert [bar.count for bar in chart.bars] == [1, 1, 2, 0, 0, 1, 0, 1, 1, 1]  # 80 is kept, so left of its line
    assert [bar.is_excluded for bar in chart.bars] == [True] * 2 + [False] * 6 + [True] * 2
    assert [bar.height for bar in chart.bars[:4]] == [PLOT_HEIGHT / 2, PLOT_HEIGHT / 2, PLOT_HEIGHT, 0]
    assert (chart.n_kept, chart.n_excluded) == (4, 4)
    assert [(tick.at, tick.label) for tick in chart.x_ticks] == [(x, str(float(x))) for x in range(0, 101, 20)]
    assert [(tick.at, tick.label) for tick in chart.y_ticks] == [(0, "0"), (75, "1"), (150, "2")]


def test_a_logarithmic_axis_gives_equal_room_to_equal_factors_and_has_a_place_for_0():
    axis = Axis(from_floor=True, ceiling=999.0, log_from=1.0)
    chart = chart_of([0, 9, 99, 999], low=9, axis=axis)
    assert chart.line_low == pytest.approx(100 / 3, abs=0.01)
    assert (chart.bars[0].low, chart.bars[0].count) == (0, 1)
    assert axis.score(axis.place(123.4)) == pytest.approx(123.4)
    assert [tick.label for tick in chart.x_ticks] == ["0.0", "1.0", "10.0", "100.0"]


def test_a_single_frame_beside_thousands_stays_visible():
    chart = chart_of([50] * 5000 + [95])
    assert min(bar.height for bar in chart.bars if bar.count) == 2.0


@pytest.mark.parametrize(
    ("values", "low", "high", "axis", "n_excluded"),
    [
        ([0], None, 0, Axis(from_floor=True, log_from=1e-4), 0),  # a threshold at the axis' very beginning
        ([0, 0.5], None, 0, Axis(from_floor=True), 1),
        ([255], 255, None, Axis(from_floor=True, ceiling=255.0), 0),  # and at its end
        ([255], None, 255, Axis(from_floor=True, ceiling=255.0), 0),
        ([0], 0, None, Axis(log_from=1.0), 0),
        ([512] * 3, None, None, Axis(bar_step=1.0, least_span=20.0), 0),
        ([5], 1e9, None, Axis(log_from=1.0), 1),  # far from every score
        ([64, 0], 64.5, None, Axis(floor=-0.5, from_floor=True, ceiling=64.5, bar_step=1.0), 2),
        ([1e-12], None, None, Axis(log_from=1.0), 0),
        ([0], 1e-9, None, LINEAR, 1),  # a sliver of an axis
    ],
)
def test_extreme_thresholds(values, low, high, axis, n_excluded):
    chart = chart_of(values, low, high, axis)
    assert (sum(bar.count for bar in chart.bars), chart.n_excluded) == (len(values), n_excluded)
    assert all(math.isfinite(number) for bar in chart.bars for number in (bar.x, bar.width, bar.height))
    assert chart.x_ticks
    assert chart.y_ticks


@given(
    values=st.lists(SCORES | st.sampled_from([0.0, 10.0, 20.0]), min_size=1, max_size=30),
    low=st.none() | SCORES | st.just(10.0),
    high=st.none() | SCORES | st.just(20.0),
    axis=st.sampled_from(AXES),
)
def test_every_score_is_in_one_bar_on_its_side_of_each_line(values, low, high, axis):
    if low is not None and high is not None and low >= high:
        low, high = None, low
    chart = chart_of(values, low, high, axis)
    outside = sum((low is not None and v < low) or (high is not None and v > high) for v in values)
    assert sum(bar.count for bar in chart.bars) == len(values)
    assert sum(bar.count for bar in chart.bars if bar.is_excluded) == chart.n_excluded == outside
    assert [bar.x for bar in chart.bars] == sorted(bar.x for bar in chart.bars)
    assert all(bar.x >= -1e-6 and bar.x + bar.width <= 100.001 and bar.width >= 0 for bar in chart.bars)
    for bar in chart.bars:
        left_out = low is not None and bar.low < low and bar.high <= low * (1 + 1e-6)
        right_out = high is not None and bar.high > high and bar.low >= high * (1 - 1e-6)
        assert bar.is_excluded == (left_out or right_out)
    assert len(chart.bars) <= axis.n_bars + 4
    assert 1 <= len(chart.x_ticks) <= 11
    assert all(-0.001 <= tick.at <= 100.001 for tick in chart.x_ticks)
