"""`dataset.crop_border`: the copies show the field alone, boxes follow, and the manifest says where the field was."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from small_raw_set import N_PATIENTS, changed, config_for, make_raw_set, noise, run_prepare, save, snapshot

from data_utils.formats.yolo import read_labels
from data_utils.manifest import read_manifest
from data_utils.records import crop_cxcywhn, cxcywhn_to_xyxy

FIELD = (40, 20, 100, 80)  # x1 y1 x2 y2 in pixels of a 140 x 100 frame


def bordered(seed: int) -> np.ndarray:
    """A frame of 140 x 100 pixels, black but for FIELD."""
    frame = np.zeros((100, 140, 3), np.uint8)
    frame[20:80, 40:100] = noise(60, seed) // 2 + 130  # bright: the mean grey counts the surround too
    return frame


@pytest.fixture
def raw_with_border(tmp_path: Path) -> Path:
    """The small raw set, its first frame with a black surround and a lesion from (60, 30) to (80, 60)."""
    raw = make_raw_set(tmp_path / "raw")
    save(raw / "images" / "p0 0.png", bordered(7))
    (raw / "labels" / "p0 0.txt").write_text(f"0 {70 / 140} {45 / 100} {20 / 140} {30 / 100}\n")
    return raw


def test_the_surround_is_cut_away_and_the_box_follows(raw_with_border: Path) -> None:
    run_prepare(raw_with_border, "dataset.crop_border=true", "dataset.image_format=png")
    row = read_manifest(raw_with_border.parent / "out/manifest.csv")["p0 0"]
    assert (row.crop_x, row.crop_y, row.width, row.height) == (40, 20, 60, 60)
    boxes = read_labels(raw_with_border.parent / "out/lr/labels/p0 0.txt", 1).boxes_cxcywhn
    # In the 60 x 60 field the lesion runs from (20, 10) to (40, 40).
    np.testing.assert_allclose(cxcywhn_to_xyxy(boxes, 60, 60), [[20, 10, 40, 40]], atol=1e-6)
    hr_image = cv2.imread(str(raw_with_border.parent / "out/hr/images/p0 0.png"))
    expected = cv2.resize(bordered(7)[20:80, 40:100], (64, 64), interpolation=cv2.INTER_CUBIC)
    assert (hr_image == expected).all()


def test_a_lesion_at_the_rim_keeps_its_whole_box(raw_with_border: Path) -> None:
    (raw_with_border / "labels" / "p0 0.txt").write_text(f"0 {25 / 140} {45 / 100} {30 / 140} {30 / 100}\n")
    run_prepare(raw_with_border, "dataset.crop_border=true")
    row = read_manifest(raw_with_border.parent / "out/manifest.csv")["p0 0"]
    assert (row.crop_x, row.crop_y, row.width, row.height) == (10, 20, 90, 60)


def test_a_rerun_changes_nothing_and_switching_it_off_brings_the_frame_back(raw_with_border: Path) -> None:
    run_prepare(raw_with_border, "dataset.crop_border=true")
    before = snapshot(raw_with_border.parent / "out")
    report = run_prepare(raw_with_border, "dataset.crop_border=true")
    assert (report.n_written, report.n_reused) == (0, 2 * N_PATIENTS)
    assert changed(before, snapshot(raw_with_border.parent / "out")) == set()
    report = run_prepare(raw_with_border)
    assert report.n_written == 1  # the other frames have no surround: their copies stand
    assert read_manifest(config_for(raw_with_border).dataset.manifest)["p0 0"].width == 140


def test_boxes_are_mapped_into_a_region_by_hand() -> None:
    mapped = crop_cxcywhn(np.array([[0.5, 0.5, 0.2, 0.4]]), (100, 50), (20, 10, 80, 40))
    # 40..60 across and 15..35 down become 20..40 of 60 and 5..25 of 30.
    np.testing.assert_allclose(mapped, [[30 / 60, 15 / 30, 20 / 60, 20 / 30]])
    assert crop_cxcywhn(np.zeros((0, 4)), (100, 50), (20, 10, 80, 40)).shape == (0, 4)
