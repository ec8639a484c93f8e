"""What a frame looks like, in numbers, and which of a data set's thresholds it fails. Nothing is decided here silently:
the caller gets every reason.

Thresholds belong to a data set: the published blur threshold of 100 rejects every blood-cell image we tried.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.config.sections import FilterSection
from data_utils.records import FloatArray, clip_xyxy, cxcywhn_to_xyxy

# Where in a frame the endoscope's round field lies, and how much of the frame is the black surround.
#
# NumPy and OpenCV only: the predictor crops frames the way `prepare` did, also where nothing else is installed.


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


# The perceptual hash: 64 bits that stay nearly the same when a picture is recompressed, resized or brightened.


HASH_BITS = 64
_SIDE = 32  # pixels of the thumbnail the transform is taken of
_BAND = 8  # lowest frequencies kept in each direction


def perceptual_hash(grey: NDArray[np.uint8]) -> str:
    """Hash a grey frame, uint8 [H, W]: 16 hex digits, one bit for each of the 8x8 lowest frequencies of its cosine
    transform, set where the coefficient is above the median.
    """
    thumbnail = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(thumbnail)[:_BAND, :_BAND].ravel()
    low[0] = 0  # the mean grey says nothing about the picture
    return np.packbits(low > np.median(low)).tobytes().hex()


def differing_bits(a: str, b: str) -> int:
    """Return in how many of the 64 bits two hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def is_perceptual_hash(value: object) -> bool:
    """Whether a value read from a file is 16 lower-case hex digits."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value) is not None


SATURATED_GREY = 250  # grey values from here on count as saturated: specular glare is clipped in all three channels
SCORES_VERSION = 2  # raise when a score's definition changes, so that cached scores are taken anew


@dataclass(frozen=True)
class FrameScores:
    """Scores of one frame, taken at its original size.

    sharpness: variance of the 3x3 Laplacian of the 8-bit grey frame. brightness: mean grey, 0-255. saturated: share of
    pixels with grey >= 250, in [0, 1]. border: share of the black surround, the dark area that touches the frame's
    edge, in [0, 1]. width, height: pixels as displayed. n_bytes: size of the file. field_xyxy: corners in pixels of the
    rectangle around what is not surround. perceptual_hash: see data_utils.imaging.quality.
    """

    sharpness: float
    brightness: float
    saturated: float
    border: float
    width: int
    height: int
    n_bytes: int
    field_xyxy: tuple[int, int, int, int]
    perceptual_hash: str


@dataclass(frozen=True)
class Reason:
    """Why a frame is excluded: `kind` to count by, `detail` with the score and the threshold it fails."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


def score_frame(bgr: NDArray[np.uint8], n_bytes: int) -> FrameScores:
    """Score a frame, uint8 [H, W, 3] BGR as displayed, read from a file of `n_bytes` bytes."""
    grey = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    # The Laplacian of 8-bit values lies within +-1020, so 16 bits are exact and four times lighter than CV_64F.
    laplacian = cv2.Laplacian(grey, cv2.CV_16S)
    # Sums of whole numbers are exact in double, so E[x^2] - E[x]^2 loses nothing and is far quicker than meanStdDev.
    sharpness = cv2.norm(laplacian, cv2.NORM_L2SQR) / grey.size - cv2.mean(laplacian)[0] ** 2
    height, width = grey.shape
    thumbnail = halved(grey)
    border, field_xyxy = find_field(thumbnail, (width, height))
    return FrameScores(
        sharpness=max(sharpness, 0.0),
        brightness=float(cv2.mean(grey)[0]),
        saturated=int(np.count_nonzero(grey >= SATURATED_GREY)) / grey.size,
        border=border,
        width=width,
        height=height,
        n_bytes=n_bytes,
        field_xyxy=field_xyxy,
        perceptual_hash=perceptual_hash(thumbnail),
    )


def crop_region(scores: FrameScores, boxes_cxcywhn: FloatArray) -> tuple[int, int, int, int]:
    """Return the corners in frame pixels of what remains when the black surround is cut away: the field, widened where
    one of the normalised boxes [N, 4] reaches beyond it, so that no box is ever cut.
    """
    x1, y1, x2, y2 = scores.field_xyxy
    if len(boxes_cxcywhn):
        corners = clip_xyxy(cxcywhn_to_xyxy(boxes_cxcywhn, scores.width, scores.height), scores.width, scores.height)
        (low_x, low_y), (high_x, high_y) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
        x1, y1 = min(x1, math.floor(low_x)), min(y1, math.floor(low_y))
        x2, y2 = max(x2, math.ceil(high_x)), max(y2, math.ceil(high_y))
    return x1, y1, x2, y2


def rejection_reasons(scores: FrameScores, thresholds: FilterSection) -> tuple[Reason, ...]:
    """Return every threshold the frame fails, in a fixed order; empty means keep. Equal to a threshold is within it."""
    t = thresholds
    short_side = min(scores.width, scores.height)
    tests = (
        ("blurred", "Laplacian variance", scores.sharpness, "<", t.blur_thresh),
        ("dark", "mean grey", scores.brightness, "<", t.bright_min),
        ("blown out", "mean grey", scores.brightness, ">", t.bright_max),
        ("tiny", "file bytes", scores.n_bytes, "<", t.min_bytes),
        ("tiny", "shorter side in pixels", short_side, "<", t.min_side),
        ("glare", "share of saturated pixels", scores.saturated, ">", t.glare_max),
        ("border", "share of black surround", scores.border, ">", t.border_max),
    )
    return tuple(
        Reason(kind, f"{label} {score:.6g} {sign} {limit:.6g}")
        for kind, label, score, sign, limit in tests
        if limit is not None and (score < limit if sign == "<" else score > limit)
    )
