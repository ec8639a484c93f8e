"""The geometry of a line chart for a page; the template draws it as SVG.

Texts stand at percent of the chart's width, so that they keep their size on a phone; curves are drawn in a box of
BOX x BOX units that is stretched over the plot. Nothing drawn is NaN: what is not defined leaves a gap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data_utils.pages.ticks import round_steps

BOX = 1000.0
PLOT_HEIGHT = 200.0  # pixels
N_STYLES = 6  # colours and dashes; more curves than that cannot be told apart
Values = Sequence[float | None]


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high` with its ticks (value, label)."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Return where a value lies, 0 to 1 from low to high; what lies beyond is put at the end."""
        if self.is_log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, self.low))
        else:
            low, high = self.low, self.high
        return min(max((value - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True)
class Series:
    """A curve. is_step: from each point level to the next one's place. with_dots: each point is marked."""

    name: str
    x: Values
    y: Values
    is_step: bool = False
    with_dots: bool = False
    low: Values = ()
    high: Values = ()
    style: int | None = None  # default: its place among the series


@dataclass(frozen=True)
class Tick:
    """A label on an axis, at percent from the left or pixels below the plot's upper edge."""

    at: float
    label: str


@dataclass(frozen=True)
class Curve:
    """A curve as SVG path in the box, its band (empty for none), and dots at (percent, pixels, what they say)."""

    name: str
    style: int
    path: str
    band: str
    dots: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class LineChart:
    """A chart ready to draw. words: what it shows, for who cannot see it. mark: (percent, label) of an upright line."""

    title: str
    words: str
    x_label: str
    y_label: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    curves: Sequence[Curve]
    mark: tuple[float, str] | None = None


def line_chart(
    title: str, words: str, x_axis: Axis, y_axis: Axis, series: Sequence[Series], mark: tuple[float, str] | None = None
) -> LineChart | None:
    """Lay out a chart; None where no series has a point with both values defined. mark: (x, label)."""
    curves = [_curve(own, place, x_axis, y_axis) for place, own in enumerate(series)]
    curves = [curve for curve in curves if curve.path or curve.dots]
    if not curves:
        return None
    placed = None if mark is None else (_percent(x_axis, mark[0]), mark[1])
    return LineChart(
        title=title,
        words=words,
        x_label=x_axis.label,
        y_label=y_axis.label,
        x_ticks=[Tick(_percent(x_axis, value), label) for value, label in x_axis.ticks],
        y_ticks=[Tick(_pixels(y_axis, value), label) for value, label in y_axis.ticks],
        curves=curves,
        mark=placed,
    )


def share_axis(label: str) -> Axis:
    """Return an axis from 0 to 1."""
    return Axis(label, 0.0, 1.0, [(step / 5, f"{step / 5:g}") for step in range(6)])


def fitted_axis(label: str, values: Sequence[float | None], is_log: bool = False, least_span: float = 0.0) -> Axis:
    """Return an axis that holds the defined values, with round ticks; log only if all are positive."""
    defined = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = min(defined), max(defined)
    if is_log and low > 0:
        low, high = low / 1.1, high * 1.1
        return Axis(label, low, high, [(tick, f"{tick:g}") for tick in _log_ticks(low, high)], is_log=True)
    missing = max(least_span, 1e-9, 1e-3 * abs(high)) - (high - low)
    if missing > 0:
        low, high = low - missing / 2, high + missing / 2
    margin = 0.04 * (high - low)
    low, high = low - margin if low < 0 or low > margin else 0.0, high + margin
    return Axis(label, low, high, [(tick, f"{tick:g}") for tick in round_steps(low, high, 6)])


def is_defined(value: float | None) -> bool:
    """Return whether there is a finite number."""
    return value is not None and math.isfinite(value)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers for a logarithmic axis: powers of ten, and what lies between where few would be left."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [round(factor * 10.0**decade, 12) for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks[:: -(-len(ticks) // 8)]
    return ticks or [low, high]


def _curve(series: Series, place: int, x_axis: Axis, y_axis: Axis) -> Curve:
    style = (place if series.style is None else series.style) % N_STYLES
    points = list(zip(series.x, series.y, strict=True))
    whole = [(x, y) for x, y in points if x is not None and y is not None and math.isfinite(x + y)]
    path = _path(points, x_axis, y_axis, series.is_step) if len(whole) > 1 else ""
    marked = whole if series.with_dots or not path else []
    dots = [(_percent(x_axis, x), _pixels(y_axis, y), f"{series.name}: {x:.4g}, {y:.4g}") for x, y in marked]
    return Curve(series.name, style, path, _band(series, x_axis, y_axis), dots)


def _path(points: Sequence[tuple], x_axis: Axis, y_axis: Axis, is_step: bool) -> str:
    steps, pen_down = [], False
    for point in points:
        if not all(map(is_defined, point)):
            pen_down = False
            continue
        x, y = BOX * x_axis.share(point[0]), BOX * (1 - y_axis.share(point[1]))
        if pen_down and is_step:
            steps.append(f"H{x:.1f}V{y:.1f}")
        else:
            steps.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return "".join(steps)


def _band(series: Series, x_axis: Axis, y_axis: Axis) -> str:
    rows = zip(series.x, series.low, series.high, strict=False)
    whole = [row for row in rows if all(map(is_defined, row))]
    if len(whole) < 2:
        return ""
    edge = [(x, low) for x, low, _ in whole] + [(x, high) for x, _, high in reversed(whole)]
    return _path(edge, x_axis, y_axis, is_step=False) + "Z"


def _percent(axis: Axis, value: float) -> float:
    return round(100 * axis.share(value), 2)


def _pixels(axis: Axis, value: float) -> float:
    return round(PLOT_HEIGHT * (1 - axis.share(value)), 1)
