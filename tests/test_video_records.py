"""Reading saved detections: what is wrong is named by line; a torn last line is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.errors import InputError
from evaluation.video.records import read_records

GOOD = '{"source": "a.mp4", "frame": 0, "seconds": 0.0, "width": 9, "height": 9, "detections": []}'


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_torn_last_line_is_left_out(tmp_path: Path):
    assert len(read_records(written(tmp_path / "a.jsonl", GOOD, GOOD, GOOD[:40]))) == 2
    assert read_records(written(tmp_path / "b.jsonl")) == []


def test_a_name_may_hold_what_some_take_for_a_line_end(tmp_path: Path):
    name = "a\u2028b\u0085c.mp4"
    found = read_records(written(tmp_path / "a.jsonl", GOOD.replace("a.mp4", name), GOOD))
    assert [record.source for record in found] == [name, "a.mp4"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("words", "1: not JSON"),
        ("[1]", "1: no saved detections"),
        (GOOD.replace('"frame": 0, ', ""), "'frame' is missing"),
        (GOOD.replace('"seconds": 0.0', '"seconds": NaN'), "seconds = nan is no time"),
        (GOOD.replace("[]", '[{"class": 0, "score": 2, "box": [1, 1, 2, 2]}]'), "scores must lie"),
        (GOOD.replace("[]", '[{"class": 0, "score": 1, "box": [1, 1, 2]}]'), "boxes must have shape"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, reason: str):
    with pytest.raises(InputError, match=reason):
        read_records(written(tmp_path / "a.jsonl", line, GOOD))


def test_no_file_and_no_text(tmp_path: Path):
    with pytest.raises(InputError, match=r"no such file; infer\.py --save-json"):
        read_records(tmp_path / "absent.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_records(tmp_path / "a.jsonl")
