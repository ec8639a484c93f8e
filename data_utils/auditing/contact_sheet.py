"""A picture of look-alike pairs side by side, so that somebody can see whether they are copies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.auditing.findings import FramePair
from data_utils.imaging.images import UnreadableImage, read_bgr, write_image

MOST_PAIRS = 20
COLUMNS = 2  # pairs in a row
SIDE, CAPTION, GAP = 240, 34, 12  # pixels
INK, FAINT, PAPER = (30, 30, 30), (120, 120, 120), 255
FONT, LETTERS = cv2.FONT_HERSHEY_SIMPLEX, 38  # letters that fit over one frame


def write_contact_sheet(path: Path, pairs: Sequence[FramePair]) -> Path:
    """Draw up to 20 pairs, the leaks before the accepted ones, and write the picture; returns `path`."""
    distinct = {(pair.file_a, pair.file_b): pair for pair in reversed(pairs)}  # the same pair may be in many splits
    chosen = sorted(distinct.values(), key=lambda pair: (bool(pair.accepted), -pair.likeness))[:MOST_PAIRS]
    cells = [_cell(pair) for pair in chosen]
    cells += [np.full_like(cells[0], PAPER)] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    write_image(path, np.vstack(rows))
    return path


def _cell(pair: FramePair) -> NDArray[np.uint8]:
    """Draw one pair with a caption over each frame."""
    height, width = CAPTION + SIDE + GAP, 2 * SIDE + 2 * GAP
    cell = np.full((height, width, 3), PAPER, dtype=np.uint8)
    about = f"{pair.kind} {pair.likeness:.2f}{' (accepted)' if pair.accepted else ''}"
    for index, (part, file, second_line) in enumerate(
        [(pair.part_a, pair.file_a, about), (pair.part_b, pair.file_b, pair.split)]
    ):
        x = index * (SIDE + GAP // 2)
        cell[CAPTION : CAPTION + SIDE, x : x + SIDE] = _picture(file)
        _write(cell, f"{part}: {Path(file).name}", (x, 13), INK)
        _write(cell, second_line, (x, 28), FAINT)
    return cell


def _picture(file: str) -> NDArray[np.uint8]:
    try:
        bgr = read_bgr(file).bgr
    except UnreadableImage:
        return np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)  # the report names it among the unreadable frames
    return np.asarray(cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _write(cell: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's letters
    short = plain if len(plain) <= LETTERS else "..." + plain[3 - LETTERS :]
    cv2.putText(cell, short, place, FONT, 0.36, colour, 1, cv2.LINE_AA)
