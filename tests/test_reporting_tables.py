"""The report's tables: every share has its n beside it, and what is chosen is marked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from reported_run import NAMES, some_results, write_run

from evaluation.report import tables


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return json.loads(write_run(folder, some_results(), validation=some_results()).read_text())["metrics"]


def cells(table):
    return {row[0]: dict(zip(table.headers[1:], row[1:], strict=True)) for row in table.rows}


def test_froc_rows_name_the_hit_the_size_and_n(metrics):
    rows = cells(tables.froc_table(metrics))
    assert rows["IoU >= 0.5, all"]["n"] == "4"
    # Scores 0.9 hit, 0.85 hit, 0.8 false, 0.7 hit, 0.6 false: of 4 frames, 1/4 a frame allows one false alarm.
    assert (rows["IoU >= 0.5, all"]["1/8"], rows["IoU >= 0.5, all"]["1/4"]) == ("0.500", "0.750")
    assert rows["centre inside the lesion, small"] == dict.fromkeys(rows["IoU >= 0.5, all"], "n/a") | {"n": "0"}


def test_breakdowns_have_their_n(metrics):
    by_source, by_modality, by_size, by_class = tables.breakdown_tables(metrics)
    assert cells(by_source)["<i>clinic</i>"] == {
        "objects (n)": "4", "frames (n)": "4", "patients (n)": "3", "sensitivity": "0.750", "AP50": "0.832",
        "false alarms a frame": "0.250"}  # fmt: skip
    assert list(cells(by_modality)) == ["WL"]
    assert cells(by_size)["medium"]["objects (n)"] == "2"
    rows = cells(by_class)
    assert list(rows) == list(NAMES)
    assert [rows["lesion"][name] for name in ("objects (n)", "hits", "false alarms", "missed")] == ["3", "2", "1", "1"]


def test_patients_are_not_counted_where_they_are_not_known(metrics):
    assert all("patients (n)" not in table.headers for table in tables.breakdown_tables({**metrics, "unit": "image"}))


def test_confusion_marks_the_diagonal_and_leaves_background_on_background_empty(metrics):
    table = tables.confusion_table(metrics)
    assert table.rows == [
        ["found lesion", "2", "0", "1"],
        ["found <b>polyp</b>", "0", "1", "0"],
        ["missed", "1", "0", ""],
    ]
    assert table.marked == {(0, 1), (1, 2)}


def test_the_sweep_marks_the_setting_chosen(metrics):
    table = tables.sweep_table(metrics)
    assert table is not None
    assert [len(table.rows), len(table.headers)] == [5, 5]
    (place,) = table.marked
    chosen = metrics["sweep"]["setting"]
    assert (table.rows[place[0]][0], table.headers[place[1]]) == (
        f"{chosen['conf']:g}",
        f"NMS IoU {chosen['nms_iou']:g}",
    )
    assert tables.sweep_table({"sweep": {"rows": [], "setting": None}}) is None


def test_healthy_frames(metrics, tmp_path):
    assert dict(tables.healthy_table(metrics).rows)["healthy frames (n)"] == "1"
    ill = [frame for frame in some_results() if len(frame.truth_xyxy)]
    without = json.loads(write_run(tmp_path, ill).read_text())["metrics"]
    assert tables.healthy_table(without) is None


def test_calibration_and_curves_in_numbers(metrics, tmp_path):
    assert sum(int(row[2]) for row in tables.calibration_table(metrics).rows) == 5
    thinned = tables.curve_table("c", {"x": [float(i) for i in range(100)], "y": [None] * 100})
    assert 10 <= len(thinned.rows) <= 13
    assert thinned.rows[0] == ["0.000", "n/a"]
    silent = [replace(frame, detections=frame.detections.above(1.0)) for frame in some_results()]
    quiet = json.loads(write_run(tmp_path, silent).read_text())["metrics"]
    assert tables.calibration_table(quiet).rows == []
    assert tables.curve_table("c", {"x": [], "y": []}).rows == []
