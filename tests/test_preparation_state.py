"""The record of earlier work: appended, torn, edited by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_raw_set import (
    run_prepare,
)

from data_utils.imaging.quality import FrameScores
from data_utils.prepare.folders import FILE_NAME, FrameRecord, StateLog, read_state, write_state


def test_a_hand_edited_state_is_not_trusted(raw: Path) -> None:
    run_prepare(raw)
    state = raw.parent / "out" / FILE_NAME
    victim = raw.parent / "victim.jpg"
    victim.write_bytes(b"precious")
    lines = state.read_text().splitlines()
    lines[0] = lines[0].replace('"p0 0"', '"../../../victim"')
    lines[1] = lines[1].replace('"sharpness": ', '"sharpness": "x')
    state.write_text("\n".join([*lines, "null", "[1]"]))
    assert run_prepare(raw).n_written >= 1
    assert victim.read_bytes() == b"precious"


def record(stem: str, **changes: object) -> FrameRecord:
    scores = FrameScores(sharpness=1.5, brightness=2.25, saturated=0.1, border=0.5, width=3, height=4, n_bytes=5,
                         field_xyxy=(0, 1, 3, 4), perceptual_hash="0f" * 8)  # fmt: skip
    made = FrameRecord(stem, "ab" * 16, scores, ("grey", "exif rotation"), "lr32", 6, 7, (0, 1, 3, 4))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_appended_records_come_back_and_the_last_of_a_stem_counts(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with StateLog(path) as log:
        log.append(record("ü \u2028 a"))
        log.append(record("b"))
        log.append(record("b", copies_key=""))
        assert read_state(path)["b"] == record("b", copies_key="")  # readable before the log is closed
    assert read_state(path) == {"ü \u2028 a": record("ü \u2028 a"), "b": record("b", copies_key="")}
    write_state(path, [record("c"), record("a")])
    assert list(read_state(path)) == ["a", "c"]


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    whole = record("a").to_line()
    path.write_bytes(whole.encode() + b"\xff\xfe\n[]\n3\n{}\n" + whole.replace('"a"', '"torn"').encode()[:60])
    with StateLog(path) as log:
        log.append(record("b"))
    assert set(read_state(path)) == {"a", "b"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"scores_version": 2', '"scores_version": 1'),
        ('"crop_xyxy": [0, 1, 3, 4]', '"crop_xyxy": [0, 1]'),
        ('"field_xyxy": [0, 1, 3, 4]', '"field_xyxy": [0, 1, 3, "4"]'),
        ('"perceptual_hash": "0f', '"perceptual_hash": "xy'),
        ('"is_repeat": false', '"is_repeat": 0'),
        ('"a"', '"../a"'),
        ('"a"', "7"),
        ('"lr_bytes": 6', '"lr_bytes": "6"'),
        ('"sharpness": 1.5', '"sharpness": null'),
        ('"notes": ["grey", "exif rotation"]', '"notes": [1]'),
        ('"hr_bytes": 7', '"hr_bytes": 7, "more": 8'),
    ],
)
def test_a_record_with_a_wrong_value_is_none(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / FILE_NAME
    damaged = record("a").to_line().replace(old, new, 1)
    assert damaged != record("a").to_line()
    path.write_text(damaged)
    assert read_state(path) == {}


def test_a_line_nested_too_deeply_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(record("a").to_line() + "[" * 200_000 + "\n")
    assert set(read_state(path)) == {"a"}


def test_no_file_is_no_record(tmp_path: Path) -> None:
    assert read_state(tmp_path / FILE_NAME) == {}
