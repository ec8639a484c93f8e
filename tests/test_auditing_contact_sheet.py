"""The picture of look-alike pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from audit_samples import texture

from data_utils.audit.report import CAPTION, GAP, MOST_PAIRS, SIDE, FramePair, write_contact_sheet
from data_utils.imaging.images import read_bgr, write_image

CELL = (CAPTION + SIDE + GAP, 2 * SIDE + 2 * GAP)


def pairs_in(folder: Path, n: int) -> list[FramePair]:
    write_image(folder / "red.png", np.full((50, 70, 3), (0, 0, 200), np.uint8))
    write_image(folder / "blue.png", np.full((50, 50, 3), (200, 0, 0), np.uint8))
    red, blue = str(folder / "red.png"), str(folder / "blue.png")
    pair = FramePair("split1", "near-duplicates", "val", red, "train", blue, 0.9)
    return [pair, *(replace(pair, file_b=str(folder / f"gone {i} ä.png")) for i in range(n - 1))]


def test_the_frames_of_a_pair_stand_side_by_side(tmp_path: Path) -> None:
    sheet = read_bgr(write_contact_sheet(tmp_path / "sheet.png", pairs_in(tmp_path, 1))).bgr
    assert sheet.shape[:2] == (CELL[0], 2 * CELL[1])
    middle = CAPTION + SIDE // 2
    assert sheet[middle, SIDE // 2].tolist() == [0, 0, 200]
    assert sheet[middle, SIDE + SIDE // 2].tolist() == [200, 0, 0]
    assert sheet[middle, CELL[1] + SIDE // 2].tolist() == [255, 255, 255]
    assert sheet[:CAPTION].min() < 128  # the names


def test_no_more_pairs_than_fit_and_a_pair_of_two_splits_once(tmp_path: Path) -> None:
    pairs = pairs_in(tmp_path, 40)  # most of them unreadable: they are drawn grey
    sheet = read_bgr(write_contact_sheet(tmp_path / "sheet.png", pairs)).bgr
    assert len(sheet) == CELL[0] * MOST_PAIRS // 2
    twice = [pairs[0], replace(pairs[0], split="split2")]
    assert len(read_bgr(write_contact_sheet(tmp_path / "sheet.png", twice)).bgr) == CELL[0]


def test_leaks_come_before_accepted_pairs(tmp_path: Path) -> None:
    write_image(tmp_path / "other.png", texture(0))
    (leak,) = pairs_in(tmp_path, 1)
    accepted = replace(leak, file_a=str(tmp_path / "other.png"), likeness=0.99, accepted="seen")
    sheet = read_bgr(write_contact_sheet(tmp_path / "sheet.png", [accepted, leak])).bgr
    assert sheet[CAPTION + SIDE // 2, SIDE // 2].tolist() == [0, 0, 200]
