"""Pictures of cases: the right part of the right frame, the box where it belongs, and no name of a frame."""

from __future__ import annotations

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest
from evaluation_samples import frame_result
from reported_run import STEM, some_results, write_run, write_surroundings

from data_utils.manifest import ManifestRow, write_manifest
from evaluation.report.pictures import FOUND, TRUTH, Case, case_galleries, crop_case
from evaluation.report.run_files import read_run


@pytest.fixture
def record_file(tmp_path):
    write_surroundings(tmp_path, some_results())
    return write_run(tmp_path, some_results(), validation=some_results())


def decoded(picture):
    data = np.frombuffer(base64.b64decode(picture.source.split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def is_near(pixels, colour):
    return (np.abs(pixels.astype(int) - colour).max(axis=-1) < 25).sum()


def test_the_part_around_the_box_has_the_frames_proportions_again():
    # The copy is 100 x 100, the frame 400 x 200; a red dot marks the box's centre, at (200, 100) in the frame.
    copy = np.zeros((100, 100, 3), np.uint8)
    copy[45:55, 45:55] = (0, 0, 255)
    result = frame_result([(160, 80, 240, 120, 0)], [], original=(400, 200))
    drawn = crop_case(copy, Case(0, (160, 80, 240, 120), True, ""), result, 0.5)
    # 2.6 times the longer side, 208 px, but the frame is only 200 high.
    assert drawn.shape == (212, 220, 3)
    scale = 220 / 208
    red = np.argwhere(drawn[:, :, 2] > 200)
    assert red.mean(axis=0) == pytest.approx((100 * scale, 104 * scale), abs=4)
    green = np.argwhere(np.abs(drawn.astype(int) - TRUTH).max(axis=-1) < 25)
    low, high = green.min(axis=0), green.max(axis=0)
    assert (*low, *high) == pytest.approx((80 * scale, 64 * scale, 120 * scale, 144 * scale), abs=4)
    assert is_near(drawn, FOUND) == 0


def test_a_box_at_the_edge_and_detections_above_the_threshold_only():
    result = frame_result([], [(600, 440, 640, 480, 0, 0.9), (560, 400, 600, 440, 0, 0.2)])
    case = Case(0, (600, 440, 640, 480), False, "")
    grey = np.full((480, 640, 3), 90, np.uint8)
    once, twice = (crop_case(grey, case, result, threshold) for threshold in (0.5, 0.1))
    assert 0 < is_near(once, FOUND) < is_near(twice, FOUND)
    assert is_near(once, TRUTH) == 0


def test_galleries_show_cases_without_names(record_file):
    words, misses, alarms = case_galleries(read_run(record_file))
    assert "Solid green" in words.words
    (miss,), (alarm,) = misses.shown, alarms.shown
    assert miss.caption.startswith("lesion, 120 x 120 px; no box touches it; frame 2, patient ")
    assert alarm.caption.startswith("lesion, score 0.80; no true box there; frame 1, patient ")
    assert STEM not in miss.caption + alarm.caption
    assert "ann" not in miss.caption + alarm.caption
    assert is_near(decoded(miss.pictures[0]), TRUTH) > 50
    assert miss.pictures[0].alt == miss.caption


def test_other_frames_than_those_scored_are_not_shown(record_file, tmp_path):
    rows = [ManifestRow(f.stem, "x.png", "p", "p", "s", "WL", 640, 480, "native", 1, "0" * 32) for f in some_results()]
    write_manifest(tmp_path / "processed" / "manifest.csv", rows)
    (words,) = case_galleries(read_run(record_file))
    assert "does not hold the very frames that were scored" in words.words


def test_what_is_not_at_hand_is_said(record_file, tmp_path):
    for copy in (tmp_path / "processed").rglob(f"{STEM}1.png"):
        copy.unlink()
    (tmp_path / "processed" / "hr" / "images" / f"{STEM}0.png").write_bytes(b"no picture")
    _, misses, alarms = case_galleries(read_run(record_file))
    assert (misses.shown[0].pictures, misses.shown[0].caption.endswith("(its copy is missing)")) == ((), True)
    assert alarms.shown[0].caption.endswith("(its copy cannot be read)")
    (tmp_path / "processed" / "lr" / "images").rename(tmp_path / "gone")
    (words,) = case_galleries(read_run(record_file))
    assert "is not at hand" in words.words
    next(tmp_path.glob("predictions_*_test.jsonl")).unlink()
    (words,) = case_galleries(read_run(record_file))
    assert "Without the stored predictions" in words.words


def test_a_perfect_run_has_no_cases(tmp_path):
    results = [replace(frame_result([(0, 0, 9, 9, 0)], [(0, 0, 9, 9, 0, 0.9)]), stem="f", patient_id="p", group="p")]
    record_file = write_run(tmp_path, results)
    write_surroundings(tmp_path, results)
    parts = case_galleries(read_run(record_file))
    assert [part.words for part in parts[1:]] == ["Nothing was missed.", "No false alarm lies above the threshold."]
