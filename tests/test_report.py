"""Tables for people: alignment, undefined values, what every report must name."""

from __future__ import annotations

import math

import pytest
from evaluation_samples import frame_result, small_config

from evaluation.metrics import detection_metrics
from evaluation.report.text import csv_rows, format_report, format_table, format_value, metric_rows, which_frames
from evaluation.statistics.headline import Scoring

SPEED = {"fps": 31.4159, "fps_median_ms": 31.83, "fps_p95_ms": 40.0, "fps_n_iters": 500, "fps_threads": 2,
         "fps_device": "cpu", "gflops": 8.0827, "params": 3011043, "params_training": 4000000}  # fmt: skip
QUALITY = {"psnr": 31.234, "ssim": 0.9, "psnr_bicubic": 30.0, "ssim_bicubic": None, "n_sr_frames": 32, "n_sr_native": 7}


def full_metrics(*overrides):
    results = [frame_result([(10, 10, 40, 30, 0)], [(10, 10, 40, 30, 0, 0.9)]), frame_result()]
    return {**detection_metrics(results, Scoring.of(small_config(*overrides))), **QUALITY, **SPEED}


def test_a_table_is_aligned():
    assert format_table(["", "value"], [["AP50", "0.5"], ["parameters", "3,011"]]).splitlines() == [
        "            value",
        "----------  -----",
        "AP50          0.5",
        "parameters  3,011",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (math.nan, "n/a"), (math.inf, "n/a"), (0.0, "0.000"), (1234567, "1,234,567"), (0.12345, "0.123")],
)
def test_values(value, text):
    assert format_value(value) == text


def test_the_report_names_what_its_numbers_rest_on():
    text = format_report(full_metrics(), "tiny on test", {"ap50": 0.82, "gflops": 8.2}, ["one more note"])
    lines = text.splitlines()
    assert lines[0] == "tiny on test"
    (ap_line,) = [line for line in lines if line.startswith("AP50  ")]
    assert ap_line.split() == ["AP50", "1.000", "0.82"]
    (small_line,) = [line for line in lines if line.startswith("AP50 small")]
    assert "n=1" in small_line
    assert "paper (ENDO-LC)" in text
    assert "Sizes are counted in the original frame's pixels" in text
    assert "same frames" in text
    assert "FPS (batch 1, cpu, 2 threads)" in text
    assert "3,011,043" in text
    assert "31.23 dB" in text
    assert "7 of the 32 HR targets are native" in text
    assert "one more note" in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize(("reference", "words"), [("input", "96 px input's"), ("hr", "192 px HR target's")])
def test_the_pixels_that_sizes_are_counted_in_are_named(reference, words):
    assert f"counted in the {words} pixels" in format_report(full_metrics(f"eval.size_reference={reference}"), "t")


def test_the_paper_has_no_column_where_it_has_no_value():
    assert "paper" not in format_report(full_metrics(), "t")


def test_the_report_of_a_set_without_truth_reads_not_available():
    numbers = detection_metrics([frame_result(found=[(0, 0, 9, 9, 0, 0.9)])], Scoring.of(small_config()))
    text = format_report(numbers, "t")
    assert [line.split()[-1] for line in text.splitlines() if line.startswith(("AP50  ", "mAP", "F1"))] == ["n/a"] * 3
    assert "nan" not in text.lower()


def test_settings_change_the_labels():
    numbers = full_metrics("iou_thresh=0.4", "eval.size_reference=input")
    labels = [label for _, label, _ in metric_rows(numbers)]
    assert "AP@0.4" in labels
    assert "96 px input's pixels" in format_report(numbers, "t")


def test_frames_of_unknown_size_are_counted():
    results = [frame_result()]
    results[0].extra["assumed_size"] = "192x192"
    numbers = detection_metrics(results, Scoring.of(small_config()))
    assert "1 frames are not in the manifest" in format_report(numbers, "t")


def test_csv_has_a_line_for_each_number_and_class():
    rows = csv_rows(full_metrics(), {"ap50": 0.82})
    by_key = {(row["metric"], row["class"]): row for row in rows}
    assert by_key["ap50", "all"] == {"metric": "ap50", "class": "all", "value": pytest.approx(1.0), "paper": 0.82}
    assert by_key["ap50", "polyp"]["value"] is None
    assert by_key["size_reference", "all"]["value"] == "original"
    assert len(by_key) == len(rows)


def test_csv_has_the_intervals_of_what_has_one_and_values_that_only_an_interval_gives():
    ends = {"bca_low": 0.5, "bca_high": 0.9}
    metrics = full_metrics() | {"intervals": {"ap50": {"value": 1.0, **ends}, "froc_mean": {"value": 0.7, **ends}}}
    by_key = {(row["metric"], row["class"]): row for row in csv_rows(metrics, {})}
    assert (by_key["ap50", "all"]["low"], by_key["ap50", "all"]["high"]) == (0.5, 0.9)
    assert (by_key["froc_mean", "all"]["value"], by_key["froc_mean", "all"]["low"]) == (0.7, 0.5)
    assert "low" not in by_key["n_boxes", "all"]


def test_psnr_says_which_frames_and_why_so_many() -> None:
    words = which_frames({"n_sr_frames": 30, "n_sr_total": 269, "sr_every": 9})
    assert words.startswith("30 of the 269 frames, one of every 9")
    assert "run.sr_metric_frames" in words
    assert which_frames({"n_sr_frames": 5, "n_sr_total": 5, "sr_every": 1}) == "all 5 frames"
    assert which_frames({"n_sr_frames": 5}) == ""
