"""Text files of detections: YOLO lines and JSON lines, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_utils.records import Detections
from deployment.outputs import DetectionFiles, unused_path
from evaluation.video.records import FrameRecord, read_records

FOUND = Detections(np.array([[10, 20, 30, 60], [0, 0, 100, 50]]), np.array([0.5, 0.75]), np.array([1, 0]))


def record(tracked: bool = False) -> FrameRecord:
    extra = {"tracks": (7, None), "alerts": (True, False)} if tracked else {}
    return FrameRecord("clip é.mp4", 12, 0.48, (100, 100), FOUND, **extra)  # pyright: ignore[reportArgumentType]


def test_yolo_lines_are_best_first_and_normalised(tmp_path: Path):
    files = DetectionFiles(tmp_path, ("lesion", "polyp"), text=True, json=False)
    files.write(record(), "clip_000012", Path("sub"))
    files.close()
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path == tmp_path / "labels" / "sub" / "clip_000012.txt"
    assert path.read_text().splitlines() == [
        "0 0.500000 0.250000 1.000000 0.500000 0.750000",
        "1 0.200000 0.400000 0.200000 0.400000 0.500000",
    ]


def test_tracks_are_a_last_column_and_frames_without_detections_have_an_empty_file(tmp_path: Path):
    files = DetectionFiles(tmp_path, ("lesion", "polyp"), text=True, json=False)
    files.write(record(tracked=True), "a", Path())
    files.write(FrameRecord("a", 0, None, (9, 9), Detections.empty()), "b", Path())
    assert [line.split()[-1] for line in (tmp_path / "labels" / "a.txt").read_text().splitlines()] == ["7", "-1"]
    assert (tmp_path / "labels" / "b.txt").read_text() == ""


@pytest.mark.parametrize("tracked", [False, True])
def test_json_lines_come_back_as_they_were(tmp_path: Path, tracked: bool):
    files = DetectionFiles(tmp_path, ("lesion", "polyp"), text=False, json=True)
    files.write(record(tracked), "a", Path())
    files.write(FrameRecord("b.png", 0, None, (9, 9), Detections.empty()), "b", Path())
    files.close()
    assert files.json_path == tmp_path / "detections.jsonl"
    first = json.loads(files.json_path.read_text(encoding="utf-8").splitlines()[0])
    assert first["detections"][0]["name"] == "lesion"
    back, empty = read_records(files.json_path)
    expected = record(tracked)
    assert (back.source, back.frame, back.seconds, back.size) == ("clip é.mp4", 12, 0.48, (100, 100))
    np.testing.assert_array_equal(back.detections.boxes_xyxy, expected.detections.boxes_xyxy)
    assert (back.tracks, back.alerts) == (expected.tracks, expected.alerts)
    assert back.raised == ([True, False] if tracked else [True, True])
    assert (len(empty.detections), empty.seconds) == (0, None)


def test_an_earlier_file_is_kept(tmp_path: Path):
    for _ in range(2):
        files = DetectionFiles(tmp_path, ("lesion", "polyp"), text=True, json=True)
        files.write(record(), "a", Path())
        files.close()
    assert files.outputs == [tmp_path / "detections_2.jsonl", tmp_path / "labels_2"]
    assert (tmp_path / "labels" / "a.txt").read_text() == (tmp_path / "labels_2" / "a.txt").read_text() != ""
    first, second = ((tmp_path / name).read_text() for name in ("detections.jsonl", "detections_2.jsonl"))
    assert first == second.replace("labels_2", "labels") != ""


def test_nothing_is_left_behind_where_no_frame_was_written(tmp_path: Path):
    files = DetectionFiles(tmp_path, ("lesion", "polyp"), text=True, json=True)
    files.close()
    files.close()  # as after an error while closing
    assert (files.outputs, list(tmp_path.iterdir())) == ([], [])


def test_frames_of_one_name_have_a_file_each(tmp_path: Path):
    files = DetectionFiles(tmp_path, ("lesion", "polyp"), text=True, json=False)
    files.write(record(), "a", Path())  # a.jpg
    files.write(FrameRecord("a.png", 0, None, (9, 9), Detections.empty()), "a", Path())
    assert len((tmp_path / "labels" / "a.txt").read_text().splitlines()) == 2
    assert (tmp_path / "labels" / "a_2.txt").read_text() == ""


def test_long_names_are_cut_between_letters(tmp_path: Path):
    path = unused_path(tmp_path, "é" * 150, ".png")
    path.touch()
    assert path.name == "é" * 90 + ".png"
    assert unused_path(tmp_path, "é" * 150, ".png").name == "é" * 90 + "_2.png"
