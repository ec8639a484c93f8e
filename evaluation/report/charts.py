"""The charts of the report, each from an evaluation's numbers or a training's log; None where there is nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_utils.pages import round_steps
from evaluation.plots import LOGARITHMIC, training_curves
from evaluation.scoring.froc import FALSE_ALARM_RATES, rate_name

# The geometry of a line chart for a page; the template draws it as SVG.
#
# Texts stand at percent of the chart's width, so that they keep their size on a phone; curves are drawn in a box of
# BOX x BOX units that is stretched over the plot. Nothing drawn is NaN: what is not defined leaves a gap.


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


FROC_FROM, FROC_TO = 1 / 16, 16.0  # false alarms a frame
MOST_POINTS = 240  # of a curve on the page


def precision_recall(metrics: Mapping[str, Any]) -> LineChart | None:
    """Draw precision over recall of the classes with most boxes, N_STYLES of them at most; None without detections."""
    curves = metrics["pr_curves"]
    if not metrics["threshold_curves"]["thresholds"]:
        return None  # nothing was detected: the curves are all 0
    rows = sorted((row for row in metrics["per_class"] if row["name"] in curves["precision"]), key=_by_boxes)
    series = [
        Series(f"{row['name']}: AP {_short(row['ap50'])}", curves["recall"], curves["precision"][row["name"]])
        for row in rows[:N_STYLES]
    ]
    left_out = f"; the {N_STYLES} classes with most boxes of {len(rows)}" if len(rows) > N_STYLES else ""
    words = f"Precision over recall at IoU {metrics['iou_thresh']:g}{left_out}. " + listing(s.name for s in series)
    title = f"Precision and recall{left_out}"
    return line_chart(title, words, share_axis("recall"), share_axis("precision"), series)


def froc(metrics: Mapping[str, Any]) -> LineChart | None:
    """Draw sensitivity over false alarms a frame, one curve for each meaning of a hit."""
    ticks = [(rate, rate_name(rate)) for rate in (FROC_FROM, *FALSE_ALARM_RATES, FROC_TO)]
    axis = Axis("false alarms a frame", FROC_FROM, FROC_TO, ticks, is_log=True)
    series = [
        Series(view["hit"], *_froc_points(view["curve"]), is_step=True)
        for view in metrics["froc"].values()
        if view["curve"]["sensitivity"]
    ]
    words = "Sensitivity over false alarms a frame for three meanings of a hit; the numbers are in the table below."
    return line_chart("FROC", words, axis, share_axis("sensitivity"), series)


def thresholds(metrics: Mapping[str, Any]) -> LineChart | None:
    """Draw precision, recall and F1 over the score threshold, and the threshold in use."""
    curves, chosen = metrics["threshold_curves"], metrics["best_threshold"]
    series = [
        Series(label, curves["thresholds"], curves[name])
        for name, label in (("f1", "F1"), ("precision", "precision"), ("recall", "recall"))
    ]
    mark = None if chosen is None else (chosen, f"threshold {chosen:.3g}")
    in_use = f"The threshold in use is {chosen:.3g}. " if chosen is not None else ""
    words = f"F1, precision and recall over the score threshold. {in_use}"
    return line_chart("Over the score threshold", words, share_axis("score threshold"), share_axis(""), series, mark)


def over_size(metrics: Mapping[str, Any]) -> LineChart | None:
    """Draw sensitivity over the size of a lesion with its band."""
    curve = metrics["size_curve"]
    label = f"square root of the area, pixels ({metrics['size_reference']})"
    series = [Series("sensitivity", curve["size"], curve["sensitivity"], low=curve["low"], high=curve["high"])]
    if not curve["size"]:
        return None
    words = f"Sensitivity over size, from {curve['size'][0]:.0f} to {curve['size'][-1]:.0f} pixels, smoothed."
    axis = fitted_axis(label, curve["size"], is_log=True)
    return line_chart("Sensitivity over size", words, axis, share_axis("sensitivity"), series)


def calibration(metrics: Mapping[str, Any]) -> LineChart | None:
    """Draw the share of hits over the score, beside what a calibrated detector would have."""
    view = metrics["calibration"]
    bins = view["bins"]
    if not bins:
        return None
    series = [
        Series("share of hits", [row["score"] for row in bins], [row["precision"] for row in bins], with_dots=True),
        Series("score = share of hits", [0.0, 1.0], [0.0, 1.0], style=N_STYLES - 1),
    ]
    words = f"Share of hits over the score in {len(bins)} bins; expected calibration error {_short(view['ece'])}."
    return line_chart("Calibration", words, share_axis("score"), share_axis("share of hits"), series)


def training(log: Mapping[str, Sequence[float]]) -> list[LineChart]:
    """Draw the columns of a training log that hold numbers, as evaluation/plots.py groups them."""
    charts = []
    for title, columns in training_curves(log).items():
        shown = dict(list(columns.items())[:N_STYLES])
        values = [value for column in shown.values() for value in column]
        series = [_over_epochs(name, log["epoch"], column) for name, column in shown.items()]
        y_axis = fitted_axis("", values, is_log=title in LOGARITHMIC)
        words = f"{title} over {len(log['epoch'])} epochs. " + listing(_last(name, log, shown) for name in shown)
        epochs = fitted_axis("epoch", log["epoch"])
        charts.append(line_chart(title, words, epochs, y_axis, series))
    return [chart for chart in charts if chart is not None]


def _over_epochs(name: str, epochs: Sequence[float], values: Sequence[float]) -> Series:
    """Return a line through the epochs that have a value: validation may skip some."""
    points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if is_defined(value)]
    return Series(name, [x for x, _ in points], [y for _, y in points], with_dots=len(points) < 12)


def listing(items: Any) -> str:
    """Return the items parted by semicolons, with a full stop."""
    return "; ".join(items) + "."


def _last(name: str, log: Mapping[str, Sequence[float]], columns: Mapping[str, Sequence[float]]) -> str:
    last = [value for value in columns[name] if is_defined(value)][-1]
    return f"{name} ends at {last:.4g}"


def _froc_points(curve: Mapping[str, Sequence[float]]) -> tuple[list[float], list[float]]:
    """Return the curve's corners from FROC_FROM to FROC_TO, with a start and an end there.

    Sensitivity at x is that of the last corner at or before x; 0 before the first.
    """
    corners = sorted(zip(curve["false_alarms_per_frame"], curve["sensitivity"], strict=True))
    before = [y for x, y in corners if x <= FROC_FROM]
    inside = [(x, y) for x, y in corners if FROC_FROM < x <= FROC_TO]
    kept = inside[:: max(1, -(-len(inside) // MOST_POINTS))]
    if inside and kept[-1] != inside[-1]:
        kept.append(inside[-1])
    start = before[-1] if before else 0.0
    points = [(FROC_FROM, start), *kept, (FROC_TO, kept[-1][1] if kept else start)]
    return [x for x, _ in points], [y for _, y in points]


def _by_boxes(row: Mapping[str, Any]) -> tuple[int, str]:
    return -row["n_boxes"], row["name"]


def _short(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
