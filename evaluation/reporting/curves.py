"""The charts of the report, each from an evaluation's numbers or a training's log; None where there is nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.froc import FALSE_ALARM_RATES, rate_name
from evaluation.plots import LOGARITHMIC, training_curves
from evaluation.reporting.line_chart import (
    N_STYLES,
    Axis,
    LineChart,
    Series,
    fitted_axis,
    is_defined,
    line_chart,
    share_axis,
)

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
