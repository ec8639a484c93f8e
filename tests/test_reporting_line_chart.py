"""Where curves, ticks and dots of a chart lie, by hand; what is not defined is a gap, never a number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.report.charts import PLOT_HEIGHT, Axis, Series, fitted_axis, line_chart, share_axis

TEN = Axis("x", 0.0, 10.0, [(0.0, "0"), (5.0, "five")])


def drawn(*series, x=TEN, y=None, mark=None):
    chart = line_chart("t", "w", x, y or share_axis("y"), series, mark)
    assert chart is not None
    return chart


def test_a_curve_by_hand():
    chart = drawn(Series("a", [0, 5, 10], [0, 0.5, 1]), mark=(2.5, "here"))
    assert chart.curves[0].path == "M0.0 1000.0L500.0 500.0L1000.0 0.0"
    assert [(tick.at, tick.label) for tick in chart.x_ticks] == [(0.0, "0"), (50.0, "five")]
    assert chart.y_ticks[0].at == PLOT_HEIGHT
    assert chart.mark == (25.0, "here")
    assert chart.curves[0].dots == []


def test_a_step_goes_level_first():
    assert drawn(Series("a", [0, 5], [0.2, 0.6], is_step=True)).curves[0].path == "M0.0 800.0H500.0V400.0"


def test_a_band_goes_out_along_the_lower_edge_and_back_along_the_upper():
    series = Series("a", [0, 5, 10], [0.5, 0.5, 0.5], low=[0.4, None, 0.2], high=[0.6, None, 0.8])
    assert drawn(series).curves[0].band == "M0.0 600.0L1000.0 800.0L1000.0 200.0L0.0 400.0Z"
    assert drawn(Series("a", [0, 5], [0.5, 0.5], low=[None] * 2, high=[None] * 2)).curves[0].band == ""


@pytest.mark.parametrize("undefined", [None, math.nan, math.inf])
def test_what_is_not_defined_leaves_a_gap(undefined):
    chart = drawn(Series("a", [0, 2, 4, 6], [0.1, 0.1, undefined, 0.1]))
    assert chart.curves[0].path == "M0.0 900.0L200.0 900.0M600.0 900.0"
    assert line_chart("t", "w", TEN, TEN, [Series("a", [1], [undefined]), Series("b", [], [])]) is None


def test_a_single_point_is_a_dot():
    curve = drawn(Series("a", [5, 6], [0.25, None])).curves[0]
    assert (curve.path, curve.dots) == ("", [(50.0, 150.0, "a: 5, 0.25")])


def test_values_beyond_an_axis_stay_at_its_end():
    log = Axis("x", 0.1, 10.0, [], is_log=True)
    assert [log.share(value) for value in (0.0, 0.1, 1.0, 10.0, 99.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert drawn(Series("a", [0, 5], [-3, 7])).curves[0].path == "M0.0 1000.0L500.0 0.0"


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), max_size=8), st.booleans())
def test_a_fitted_axis_holds_its_values_and_its_ticks(values, is_log):
    axis = fitted_axis("x", values, is_log=is_log)
    defined = [value for value in values if value is not None]
    assert axis.low < axis.high
    assert all(axis.low <= value <= axis.high for value in defined)
    assert 1 <= len(axis.ticks) <= 12
    assert all(axis.low <= tick <= axis.high for tick, _ in axis.ticks)


@pytest.mark.parametrize(
    ("values", "expected"),
    [((20, 130), [20, 50, 100]), ((30, 45), [30, 40]), ((0.001, 900), [0.001, 0.01, 0.1, 1, 10, 100])],
)
def test_ticks_of_a_logarithmic_axis(values, expected):
    assert [tick for tick, _ in fitted_axis("x", values, is_log=True).ticks] == expected
