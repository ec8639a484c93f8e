"""Reading the truth of videos: both forms alike, errors by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.errors import InputError
from evaluation.video.records import read_truth

HEADER = "source,frame,lesion,x1,y1,x2,y2"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_json_lines_say_the_same(tmp_path: Path):
    table = written(tmp_path / "a.csv", f"\ufeff{HEADER},class\r\na.mp4,3,A,1,2,30,40,0\r\na.mp4,4,A,1,2,30,40.5,\r\n")
    lines = written(tmp_path / "a.jsonl", (
        '{"source": "a.mp4", "frame": 3, "lesion": "A", "x1": 1, "y1": 2, "x2": 30, "y2": 40, "class": 0}\n'
        '{"source": "a.mp4", "frame": 4, "lesion": "A", "x1": 1, "y1": 2, "x2": 30, "y2": 40.5}\n'))  # fmt: skip
    for boxes in (read_truth(table), read_truth(lines)):
        assert [(box.source, box.frame, box.lesion, box.class_id) for box in boxes] == [
            ("a.mp4", 3, "A", 0), ("a.mp4", 4, "A", None)]  # fmt: skip
        assert boxes[1].box_xyxy.tolist() == [1, 2, 30, 40.5]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("source,frame\n", r"a\.csv:1: column lesion, x1"),
        (f"{HEADER}\na,x,A,1,1,2,2\n", r"a\.csv:2: invalid literal"),
        (f"{HEADER}\na,0,A,1,1\n", r"a\.csv:2: "),
        (f"{HEADER}\na,0,A,5,1,2,2\n", r"a\.csv:2: .*no area"),
        (f"{HEADER}\na,0,A,nan,1,2,2\n", r"a\.csv:2: .*no area"),
        (f"{HEADER}\na,0,,1,1,2,2\n", r"a\.csv:2: source and lesion"),
        (f"{HEADER}\na,-1,A,1,1,2,2\n", r"a\.csv:2: .*frame counts from 0"),
        (f"{HEADER}\na,0,A,1,1,2,2\na,0,A,1,1,2,2\n", r"a\.csv:3: lesion A stands twice"),
    ],
)
def test_bad_rows_are_named_by_line(tmp_path: Path, text: str, reason: str):
    with pytest.raises(InputError, match=reason):
        read_truth(written(tmp_path / "a.csv", text))


@pytest.mark.parametrize("frame", ["1.5", "true", "null"])
def test_a_frame_that_is_no_whole_number_is_not_rounded(tmp_path: Path, frame: str):
    text = f'{{"source": "a", "frame": {frame}, "lesion": "A", "x1": 1, "y1": 2, "x2": 30, "y2": 40}}'
    with pytest.raises(InputError, match=r"a\.jsonl:1: "):
        read_truth(written(tmp_path / "a.jsonl", text))
    whole = read_truth(written(tmp_path / "a.jsonl", text.replace(frame, "3.0")))
    assert whole[0].frame == 3


@pytest.mark.parametrize("text", ["words", "[1]", '{"source": "a"}'])
def test_bad_json_is_named_by_line(tmp_path: Path, text: str):
    with pytest.raises(InputError, match=r"a\.jsonl:1: "):
        read_truth(written(tmp_path / "a.jsonl", text))


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="no such file; write the columns source,frame"):
        read_truth(tmp_path / "absent.csv")
