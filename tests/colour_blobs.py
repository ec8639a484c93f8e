"""A detector without learning, tuned on its own test frames: threshold a colour channel, box the connected blobs.

It says how far colour alone goes on a data set, so that what a trained model adds can be told from what is given away.
"""

from __future__ import annotations

import contextlib
import io
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 640  # frames are searched at this size
MIN_AREA = 30  # pixels; smaller blobs are noise
SURROUND = 121  # pixels: side of the local background


class Setting(NamedTuple):
    """One way to search: which channel, which polarity, against what, and how many deviations above it."""

    channel: str
    polarity: int
    local: bool
    deviations: float


SETTINGS = [
    Setting(*choice) for choice in product(("L", "a", "b", "saturation"), (1, -1), (False, True), (0.7, 1.5, 2.5))
]


def best_colour_ap50(frames: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, Setting]:
    """Return the best AP50 over all settings, and that setting.

    frames: (uint8 BGR [H, W, 3], true boxes xyxy [N, 4] in its pixels).
    """
    truths, searched = [], []
    for bgr, boxes in frames:
        height, width = bgr.shape[:2]
        truths.append(boxes * SIDE / np.array([width, height, width, height]))
        smooth = cv2.GaussianBlur(cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA), (0, 0), 1.5)
        searched.append((_channels(smooth), _inside(smooth)))
    scored = []
    for setting in SETTINGS:
        found = [_blobs(channels[setting.channel], inside, setting) for channels, inside in searched]
        scored.append((_ap50(truths, found), setting))
    return max(scored)


def _channels(bgr: np.ndarray) -> dict[str, np.ndarray]:
    lightness, a, b = cv2.split(cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB))
    saturation = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)[..., 1]
    return {"L": lightness, "a": a, "b": b, "saturation": saturation}


def _inside(bgr: np.ndarray) -> np.ndarray:
    """What the endoscope shows, bool [H, W], without the edge of its vignette."""
    return cv2.erode((bgr.max(axis=2) > 30).astype(np.uint8), np.ones((9, 9))) > 0


def _blobs(channel: np.ndarray, inside: np.ndarray, setting: Setting) -> list[tuple[list[float], float]]:
    """Boxes [x, y, w, h] of blob-like components with their scores: contrast times how well they fill their box."""
    values = channel.astype(np.float32) * setting.polarity
    if setting.local:
        weight = inside.astype(np.float32)
        kernel = (SURROUND, SURROUND)
        values -= cv2.blur(values * weight, kernel) / np.maximum(cv2.blur(weight, kernel), 1e-3)
    mean, deviation = values[inside].mean(), values[inside].std() + 1e-6
    mask = ((values > mean + setting.deviations * deviation) & inside).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    sums = np.bincount(labels.ravel(), weights=values.ravel(), minlength=count)
    found = []
    for (x, y, w, h, area), total in zip(stats[1:].tolist(), sums[1:].tolist(), strict=True):
        if area >= MIN_AREA and max(w, h) < SIDE / 4 and max(w, h) < 2.2 * min(w, h):
            contrast = (total / area - mean) / deviation
            found.append(([float(x), float(y), float(w), float(h)], float(contrast * area / (w * h))))
    return found


def _ap50(truths: list[np.ndarray], found: list[list[tuple[list[float], float]]]) -> float:
    annotations = [
        {
            "image_id": i,
            "category_id": 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "iscrowd": 0,
        }
        for i, boxes in enumerate(truths)
        for x0, y0, x1, y1 in boxes.tolist()
    ]
    detections = [
        {"image_id": i, "category_id": 1, "bbox": box, "score": score}
        for i, blobs in enumerate(found)
        for box, score in blobs
    ]
    if not detections:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truths))],
            "categories": [{"id": 1}],
            "annotations": [{"id": n, **annotation} for n, annotation in enumerate(annotations, start=1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, 2]
    return float(precision[precision > -1].mean())
