"""What a frame looks like, in numbers, and which of a data set's thresholds it fails. Nothing is decided here silently:
the caller gets every reason.

Thresholds belong to a data set: the published blur threshold of 100 rejects every blood-cell image we tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.boxes import clip_xyxy, cxcywhn_to_xyxy
from data_utils.dataset_section import FilterSection
from data_utils.imaging.field_of_view import find_field, halved
from data_utils.imaging.perceptual import perceptual_hash
from data_utils.types import FloatArray

SATURATED_GREY = 250  # grey values from here on count as saturated: specular glare is clipped in all three channels
SCORES_VERSION = 2  # raise when a score's definition changes, so that cached scores are taken anew


@dataclass(frozen=True)
class FrameScores:
    """Scores of one frame, taken at its original size.

    sharpness: variance of the 3x3 Laplacian of the 8-bit grey frame. brightness: mean grey, 0-255. saturated: share of
    pixels with grey >= 250, in [0, 1]. border: share of the black surround, the dark area that touches the frame's
    edge, in [0, 1]. width, height: pixels as displayed. n_bytes: size of the file. field_xyxy: corners in pixels of the
    rectangle around what is not surround. perceptual_hash: see data_utils.imaging.perceptual.
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
