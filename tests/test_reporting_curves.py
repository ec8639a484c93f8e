"""Which curves the report draws, and their numbers at places worked out by hand."""

from __future__ import annotations

import math

import pytest

from evaluation.report import charts as curves
from evaluation.report.charts import N_STYLES


def with_curves(names, found=True):
    rows = [{"name": name, "n_boxes": place, "ap50": 0.5} for place, name in enumerate(names)]
    return {"per_class": rows, "iou_thresh": 0.5, "threshold_curves": {"thresholds": [0.5] if found else []},
            "pr_curves": {"recall": [0, 1], "precision": {name: [1, 0] for name in names}}}  # fmt: skip


def test_only_as_many_classes_as_can_be_told_apart_are_drawn_and_the_chart_says_so():
    names = [f"c{place}" for place in range(N_STYLES + 2)]
    chart = curves.precision_recall(with_curves(names))
    assert chart is not None
    assert [curve.name for curve in chart.curves] == [f"{name}: AP 0.500" for name in names[:1:-1]]
    assert f"the {N_STYLES} classes with most boxes of {N_STYLES + 2}" in chart.title
    assert curves.precision_recall(with_curves(names, found=False)) is None


def froc_of(corners):
    xs, ys = zip(*corners, strict=True) if corners else ((), ())
    return {"froc": {"iou50": {"hit": "IoU", "curve": {"false_alarms_per_frame": list(xs), "sensitivity": list(ys)}}}}


def test_froc_starts_at_what_is_found_at_the_left_edge_and_goes_on_level():
    chart = curves.froc(froc_of([(0.0, 0.2), (1 / 16, 0.4), (1.0, 0.6)]))
    assert chart is not None
    assert chart.curves[0].path == "M0.0 600.0H500.0V400.0H1000.0V400.0"  # 1 is half-way from 1/16 to 16
    assert curves.froc(froc_of([])) is None


def test_a_detector_with_too_many_false_alarms_has_a_level_curve():
    chart = curves.froc(froc_of([(40.0, 0.9)]))
    assert chart is not None
    assert chart.curves[0].path == "M0.0 1000.0H1000.0V1000.0"


def test_a_long_froc_curve_is_thinned_but_keeps_its_end():
    corners = [(0.1 + place / 1000, place / 5000) for place in range(5000)]
    xs, ys = curves._froc_points(froc_of(corners)["froc"]["iou50"]["curve"])
    assert len(xs) < 2 * curves.MOST_POINTS
    assert (xs[-2], ys[-2]) == corners[-1]


@pytest.mark.parametrize("chosen", [None, 0.25])
def test_the_threshold_in_use_is_marked(chosen):
    values = {"thresholds": [0.9, 0.1], "f1": [0.2, 0.6], "precision": [1, 0.5], "recall": [0.1, 0.7]}
    chart = curves.thresholds({"threshold_curves": values, "best_threshold": chosen})
    assert chart is not None
    assert [curve.name for curve in chart.curves] == ["F1", "precision", "recall"]
    assert chart.mark == (None if chosen is None else (25.0, "threshold 0.25"))


def test_nothing_gives_no_chart():
    empty = {"thresholds": [], "f1": [], "precision": [], "recall": []}
    assert curves.thresholds({"threshold_curves": empty, "best_threshold": 0.25}) is None
    size = {"size": [], "sensitivity": [], "low": [], "high": []}
    assert curves.over_size({"size_curve": size, "size_reference": "original"}) is None
    assert curves.calibration({"calibration": {"bins": [], "ece": None}}) is None
    assert curves.training({"epoch": [1.0, 2.0], "comment": [1.0, 2.0]}) == []


def test_calibration_has_a_dot_for_each_bin_and_the_diagonal():
    bins = [{"score": 0.2, "precision": 0.1, "n": 5}, {"score": 0.9, "precision": 1.0, "n": 2}]
    chart = curves.calibration({"calibration": {"bins": bins, "ece": 0.1}})
    assert chart is not None
    assert [len(curve.dots) for curve in chart.curves] == [2, 0]
    assert chart.curves[1].path == "M0.0 1000.0L1000.0 0.0"


def test_training_curves_skip_epochs_without_a_value():
    log = {"epoch": [1.0, 2.0, 3.0], "total_loss": [8.0, 4.0, 2.0], "ap50": [math.nan, 0.2, math.nan]}
    charts = {chart.title: chart for chart in curves.training(log)}
    assert list(charts) == ["total loss", "validation AP"]
    assert len(charts["validation AP"].curves[0].dots) == 1
    assert "total_loss ends at 2" in charts["total loss"].words


def test_a_measure_of_every_other_epoch_is_one_line():
    log = {"epoch": [1.0, 2.0, 3.0, 4.0], "total_loss": [8.0, 4.0, 2.0, 1.0], "ap50": [math.nan, 0.2, math.nan, 0.4]}
    drawn = next(chart for chart in curves.training(log) if chart.title == "validation AP").curves[0]
    assert len(drawn.dots) == 2
    assert drawn.path.count("L") == 1
