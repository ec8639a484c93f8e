"""Where in a frame the endoscope's round field lies, and how much of the frame is the black surround.

NumPy and OpenCV only: the predictor crops frames the way `prepare` did, also where nothing else is installed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

BORDER_GREY = 20  # the black surround of an endoscope's round field is darker than this, compression noise included
LEAST_FIELD = 0.1  # a brighter part smaller than this share of the frame is a dark frame's highlight, not its field
THUMBNAIL_SIDE = 256  # pixels; surround and hash are taken of a copy halved until no side is longer


def find_field(thumbnail: NDArray[np.uint8], size: tuple[int, int]) -> tuple[float, tuple[int, int, int, int]]:
    """Find the endoscope's field in a grey thumbnail, uint8 [h, w], of a frame of `size` (width, height) pixels.

    Returns the share of the black surround, and the corners in frame pixels of the rectangle around the rest; the whole
    frame where there is no surround, or where the rest is too small to be a field (a dark frame).
    """
    width, height = size
    whole = (0, 0, width, height)
    dark = thumbnail < BORDER_GREY
    if not (dark[0].any() or dark[-1].any() or dark[:, 0].any() or dark[:, -1].any()):
        return 0.0, whole
    _, labels = cv2.connectedComponents(dark.astype(np.uint8), connectivity=4)
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    surround = dark & np.isin(labels, np.unique(edge[edge > 0]))
    border = float(surround.mean())
    # The largest part that is no surround: the text and logos that recorders write into the surround are smaller ones.
    n_parts, _, stats, _ = cv2.connectedComponentsWithStats((~surround).astype(np.uint8), connectivity=8)
    if border == 0 or n_parts < 2:
        return border, whole
    x, y, w, h, area = stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))].tolist()
    if area < LEAST_FIELD * thumbnail.size:
        return border, whole
    scale_x, scale_y = width / thumbnail.shape[1], height / thumbnail.shape[0]
    return border, (
        int(x * scale_x), int(y * scale_y),
        min(width, math.ceil((x + w) * scale_x)), min(height, math.ceil((y + h) * scale_y)),
    )  # fmt: skip


def field_of(bgr: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return the corners in pixels of the field of a frame, uint8 [H, W, 3] BGR."""
    grey = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    return find_field(halved(grey), (bgr.shape[1], bgr.shape[0]))[1]


def halved(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve a grey frame until no side is longer than THUMBNAIL_SIDE: averaging 2x2 pixels is the quickest way down."""
    while max(grey.shape) > THUMBNAIL_SIDE:
        height, width = (max(1, side // 2) for side in grey.shape)
        even = grey[: 2 * height, : 2 * width]
        grey = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return grey
