"""What the branch reconstructs: input, bicubic upsampling, SR output and target side by side, each with its PSNR.

Legend: n frames; S side of the input in pixels.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.pages.picture import jpeg_picture
from evaluation.plots import read_archive
from evaluation.reporting.parts import Gallery, Shown

Pixels = NDArray[np.uint8]
CUT = 256  # pixels of the target's side that are shown, at full resolution
MOST_FRAMES = 4
JPEG_QUALITY = 92
IDENTICAL = 100.0  # dB, said of two equal pictures, as in evaluation/image_quality.py


def panel_gallery(archive: Path) -> Gallery | str:
    """Return the newest panel of a training as pictures, or a sentence where it shows no reconstruction.

    PSNR is that of the whole frame; shown is the part around the largest true box, or the centre without any. Raises
    InputError for a file that is no panel.
    """
    panel = read_archive(archive)
    if any(name not in panel or not len(panel[name]) for name in ("lr", "hr", "sr")):
        return "The stored panel shows no reconstruction: the model has no branch, or there are no HR frames."
    truths = panel.get("truth_xyxy", np.zeros((len(panel["lr"]), 0, 4)))
    frames = zip(panel["lr"], panel["sr"], panel["hr"], truths, strict=False)
    shown = [
        _frame(*frame, name=f"Validation frame {number}")
        for number, frame in enumerate(itertools.islice(frames, MOST_FRAMES), start=1)
    ]
    return Gallery(f"Super-resolution, {_moment(archive)}", shown, is_wide=True)


def psnr(picture: Pixels, target: Pixels) -> float:
    """Return 10 log10(255^2 / MSE) in dB of two uint8 pictures of one shape; IDENTICAL for equal ones."""
    error = float(np.mean((picture.astype(np.float64) - target.astype(np.float64)) ** 2))
    return min(10 * math.log10(255**2 / error), IDENTICAL) if error else IDENTICAL


def _frame(lr: Pixels, sr: Pixels, hr: Pixels, truth_xyxy: Any, name: str) -> Shown:
    """Cut the same part out of the four pictures, uint8 RGB [S, S, 3] and [2S, 2S, 3]."""
    size = hr.shape[1], hr.shape[0]
    bicubic = np.asarray(cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    enlarged = np.asarray(cv2.resize(lr, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    top, left = _corner(hr, truth_xyxy, hr.shape[1] / lr.shape[1])
    titles = [
        f"input (pixels enlarged): {psnr(enlarged, hr):.2f} dB",
        f"bicubic: {psnr(bicubic, hr):.2f} dB",
        f"ours: {psnr(sr, hr):.2f} dB",
        "target",
    ]
    parts = [whole[top : top + CUT, left : left + CUT, ::-1] for whole in (enlarged, bicubic, sr, hr)]
    pictures = [
        jpeg_picture(np.ascontiguousarray(part), f"{name}, {title}", JPEG_QUALITY)
        for part, title in zip(parts, titles, strict=True)
    ]
    return Shown(pictures, f"{name}: a part of {pictures[0].width} x {pictures[0].height} pixels of the target", titles)


def _corner(hr: Pixels, truth_xyxy: Any, scale: float) -> tuple[int, int]:
    """Return (top, left) of the part shown: around the largest true box, in target pixels; the centre without any."""
    height, width = hr.shape[:2]
    boxes = truth_xyxy[np.isfinite(truth_xyxy).all(axis=-1)] * scale
    centre = (width / 2, height / 2)
    if len(boxes):
        x1, y1, x2, y2 = boxes[np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))]
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
    left, top = (np.clip(np.subtract(centre, CUT / 2), 0, np.maximum((width - CUT, height - CUT), 0))).astype(int)
    return int(top), int(left)


def _moment(archive: Path) -> str:
    kind, _, number = archive.stem.partition("_")
    return f"after epoch {int(number)}" if kind == "epoch" and number.isdigit() else archive.stem
