"""The report's first words: true for a good run, for one that found nothing, and where there was nothing to find."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from reported_run import some_results, write_run, write_surroundings

from evaluation.report.page import headline_section, headline_table, summary, warnings
from evaluation.report.run_files import read_run


def metrics_of(folder, results, **changes):
    return json.loads(write_run(folder, results, **changes).read_text())["metrics"]


def test_a_run_in_words(tmp_path):
    metrics = metrics_of(tmp_path, some_results(), validation=some_results())
    words = summary(metrics, {"ap50": 0.82})
    # The threshold is the best F1's: 0.65, between the scores 0.7 and 0.6.
    for part in (
        "On 4 frames of 3 patients",
        "score above 0.65",
        "3 of 4 objects (75.0\u00a0%",
        "in 2 of 2 patients",
        "raised 0.25 false alarms a frame",
        "is 0.832",
        "The paper reports 0.82",
        "Of 1 healthy frame",
    ):
        assert part in words


def test_without_anything_found_or_to_find(tmp_path):
    results = some_results()
    silent = [replace(frame, detections=frame.detections.above(1.0)) for frame in results]
    assert "found none of 4 objects (0.0" in summary(metrics_of(tmp_path, silent), {})
    healthy = [
        replace(frame, truth_xyxy=frame.truth_xyxy[:0], truth_class_ids=frame.truth_class_ids[:0]) for frame in results
    ]
    words = summary(metrics_of(tmp_path, healthy), {})
    assert "no object to find, so sensitivity and AP are not defined" in words
    assert "Of 4 healthy frames, 0.0" in words
    assert summary(metrics_of(tmp_path, []), {}) == "There are no frames to score, so nothing is known."


def test_the_paper_stands_beside_the_value_only_where_it_has_one(tmp_path):
    metrics = metrics_of(tmp_path, some_results())
    table = headline_table(metrics, {"ap50": 0.82})
    assert table.headers == ["measure", "value", "95 % interval (BCa)", "paper (ENDO-LC)", "95 % interval (percentile)"]
    assert table.rows[0][3] == "0.82"
    assert {row[3] for row in table.rows[1:]} == {""}
    assert "paper (ENDO-LC)" not in headline_table(metrics, {}).headers
    assert headline_table(metrics | {"n_resamples": 0}, {}).headers == ["measure", "value"]


def test_patients_found_are_left_out_where_no_patient_is_known(tmp_path):
    metrics = metrics_of(tmp_path, some_results())
    labels = [row[0] for row in headline_table(metrics, {}).rows]
    without = [row[0] for row in headline_table(metrics | {"unit": "image"}, {}).rows]
    assert [label for label in labels if label not in without] == ["Patients found @ 0.25"]


@pytest.mark.parametrize(
    ("metrics", "audit", "words"),
    [({"unit": "image"}, "passed", "NOT by patient"), ({}, "leak", "did not pass (leak)"), ({}, None, "No audit")],
)
def test_warnings(tmp_path, metrics, audit, words):
    record_file = write_run(tmp_path, some_results())
    record = json.loads(record_file.read_text())
    record["metrics"] |= metrics
    record_file.write_text(json.dumps(record))
    if audit:
        (tmp_path / "audit.json").write_text(json.dumps({"dataset": "lesions", "verdict": audit}))
    found = warnings(read_run(record_file))
    assert sum(words in warning for warning in found) == 1
    unit = metrics.get("unit", "patient")
    assert any(warning.startswith(f"Only 3 {unit}s: an interval shows") for warning in found)


def test_a_threshold_from_the_same_frames_is_warned_of(tmp_path):
    files = read_run(write_run(tmp_path, some_results(), data="val"))
    assert not any("optimistic" in warning for warning in warnings(files))
    files.metrics["threshold_is_own"] = True
    assert any("optimistic" in warning for warning in warnings(files))


def test_notes_and_problems_are_listed_once_and_without_names(tmp_path):
    leaky = "No threshold could be chosen on validation frames: val.txt:3: no image ann_0001.jpg"
    notes = ["A note.", leaky, "This list has been scored once, with one."]
    record_file = write_run(tmp_path, some_results(), notes=notes)
    write_surroundings(tmp_path, some_results())
    points = next(part for part in headline_section(read_run(record_file)).parts if part.kind == "points")
    assert points.items == [
        "A note.",
        "No threshold could be chosen on validation frames.",
        "Torn lines of the training log that were left out: 1.",
    ]
