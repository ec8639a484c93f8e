"""The preparation benchmark runs both sides on the same frames and reports what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from data_utils.benchmark import main
from data_utils.preparation.speed import draw_frames


def test_both_sides_are_timed_and_saved(tmp_path: Path) -> None:
    saved = tmp_path / "figures.json"
    main(["--frames", "6", "--size", "96x64", "--workers", "1", "--repeats", "2", "--audit-frames", "6",
          "--folder", str(tmp_path / "work"), "--save", str(saved)])  # fmt: skip
    figures = json.loads(saved.read_text())
    assert len(figures["bare_s"]) == len(figures["prepare_s"]) == 2
    assert figures["ratio"] > 0
    assert set(figures) >= {"audit_6_s", "audit_12_s", "audit_ratio", "peak_mb_of_a_process"}


def test_drawn_frames_have_the_size_asked_for_and_differ(tmp_path: Path) -> None:
    raw = draw_frames(tmp_path / "frames", 3, (96, 64))
    images = [cv2.imread(str(path)) for path in sorted((raw / "images").iterdir())]
    assert [image.shape for image in images] == [(64, 96, 3)] * 3
    assert (images[0] != images[1]).any()
    assert draw_frames(tmp_path / "frames", 3, (96, 64)) == raw
