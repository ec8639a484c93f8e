"""What is drawn on a frame: boxes with labels, and the frame rate. Sizes follow the frame's; all drawn in place."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.types import Detections

GREEN, YELLOW, BLACK = (0, 255, 0), (0, 255, 255), (0, 0, 0)  # BGR
FONT = cv2.FONT_HERSHEY_SIMPLEX
REFERENCE_SIDE = 640  # px, longer side of the frame for which the sizes below are meant
LINE_WIDTH = 2  # px
FONT_SCALE, MIN_FONT_SCALE = 0.55, 0.4  # letters about 12 px high; never smaller than can be read


def draw_detections(
    bgr: NDArray[np.uint8], detections: Detections, names: Sequence[str], tracks: Sequence[int | None] | None = None
) -> None:
    """Draw a green box and a label such as "lesion 0.87" for each detection, the best on top.

    bgr: uint8 [H, W, 3], changed in place; boxes are in its pixels. tracks: the identity of each, added as "#3".
    """
    for position in reversed(range(len(detections))):
        corners = np.rint(detections.boxes_xyxy[position]).astype(int).tolist()
        label = f"{names[detections.class_ids[position]]} {detections.scores[position]:.2f}"
        if tracks is not None and tracks[position] is not None:
            label += f" #{tracks[position]}"
        cv2.rectangle(bgr, tuple(corners[:2]), tuple(corners[2:]), GREEN, _line_width(bgr), cv2.LINE_AA)
        _draw_label(bgr, label, *corners)


def draw_fps(bgr: NDArray[np.uint8], fps: float) -> None:
    """Write "FPS 41.3" in yellow on black into the upper left corner of uint8 [H, W, 3], in place."""
    _draw_bar(bgr, f"FPS {fps:.1f}", (0, 0), 1.2 * _font_scale(bgr), YELLOW, BLACK)


def _draw_label(bgr: NDArray[np.uint8], text: str, x1: int, y1: int, x2: int, y2: int) -> None:
    """Write black on a green bar above the box; below it, or inside, where the frame leaves no room."""
    frame_height, frame_width = bgr.shape[:2]
    scale = _font_scale(bgr)
    (bar_width, bar_height), _, _ = _bar_size(bgr, text, scale)
    left = max(0, min(x1 - _line_width(bgr) // 2, frame_width - bar_width))
    if y1 >= bar_height:
        top = y1 - bar_height
    elif y2 + bar_height <= frame_height:
        top = y2
    else:
        top = max(0, y1)
    _draw_bar(bgr, text, (left, top), scale, BLACK, GREEN)


def _draw_bar(
    bgr: NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    scale: float,
    text_colour: tuple[int, int, int],
    bar_colour: tuple[int, int, int],
) -> None:
    """Write `text` on a filled bar whose upper left corner lies at `corner` (x, y): readable on any picture."""
    (bar_width, bar_height), text_height, pad = _bar_size(bgr, text, scale)
    left, top = corner
    cv2.rectangle(bgr, (left, top), (left + bar_width, top + bar_height), bar_colour, cv2.FILLED)
    origin = (left + pad, top + pad + text_height)
    cv2.putText(bgr, text, origin, FONT, scale, text_colour, _stroke(bgr), cv2.LINE_AA)


def _bar_size(bgr: NDArray[np.uint8], text: str, scale: float) -> tuple[tuple[int, int], int, int]:
    """Return the bar's (width, height), the height of its text above the base line, and the padding, in pixels."""
    (text_width, text_height), descent = cv2.getTextSize(text, FONT, scale, _stroke(bgr))
    pad = max(2, text_height // 4)
    return (text_width + 2 * pad, text_height + descent + 2 * pad), text_height, pad


def _relative_side(bgr: NDArray[np.uint8]) -> float:
    return max(bgr.shape[:2]) / REFERENCE_SIDE


def _line_width(bgr: NDArray[np.uint8]) -> int:
    return max(LINE_WIDTH, round(LINE_WIDTH * _relative_side(bgr)))


def _stroke(bgr: NDArray[np.uint8]) -> int:
    return max(1, _line_width(bgr) // 2)


def _font_scale(bgr: NDArray[np.uint8]) -> float:
    return max(MIN_FONT_SCALE, FONT_SCALE * _relative_side(bgr))
