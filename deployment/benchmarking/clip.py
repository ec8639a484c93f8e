"""A drawn endoscopy clip to time inference on: H.264, the view wandering over a drawn larynx."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from data_utils.synthetic.frame import draw_frame
from data_utils.synthetic.plan import plan_frames
from deployment.video import VideoWriter

FPS = 25
MARGIN = 1.2  # of the picture's size over the view's, which wanders within it
TURN_FRAMES = 100  # of one round of the view


def write_clip(path: Path, n_frames: int, size: tuple[int, int] = (1280, 720), seed: int = 0) -> Path:
    """Draw `n_frames` frames of `size` (width, height) pixels; the same arguments give the same pictures."""
    width, height = size
    drawing = draw_frame(plan_frames(1, 1, 640, seed)[0])
    picture = cv2.resize(drawing.bgr, (round(MARGIN * width), round(MARGIN * height)), interpolation=cv2.INTER_CUBIC)
    room_x, room_y = picture.shape[1] - width, picture.shape[0] - height
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, size, Fraction(FPS), Fraction(1, FPS)) as writer:
        for k in range(n_frames):
            angle = 2 * math.pi * k / TURN_FRAMES
            left, top = round(room_x * (1 + math.cos(angle)) / 2), round(room_y * (1 + math.sin(angle)) / 2)
            writer.write(np.ascontiguousarray(picture[top : top + height, left : left + width], dtype=np.uint8), k)
    return path
