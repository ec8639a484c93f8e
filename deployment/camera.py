"""Frames of a connected camera, with the time at which each arrived."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Self

import cv2
import numpy as np

from data_utils.errors import InputError
from data_utils.videos.video_decoding import usable_rate
from deployment.video import DEFAULT_FPS, VideoFrame


class CameraReader:
    """Iterate over the frames of camera `number` until it stops; raises InputError when it cannot be opened."""

    time_base = Fraction(1, 90_000)  # of the arrival times: a camera seldom keeps the rate it states
    n_frames = None
    pixel_aspect = Fraction(1)

    def __init__(self, number: int) -> None:
        self.name = f"camera{number}"
        self.counts: Counter[str] = Counter()
        self._camera = _opened(number)
        self.frame_rate = usable_rate(self._camera.get(cv2.CAP_PROP_FPS)) or DEFAULT_FPS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._camera.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        index, last_pts, start = 0, -1, None
        while True:
            arrived, picture = self._camera.read()
            if not arrived and not index:
                raise InputError(f"{self.name}: opened, but gives no picture")
            if not arrived:
                self.counts["camera gave no more frames"] += 1
                return
            start = time.monotonic() if start is None else start
            last_pts = max(int((time.monotonic() - start) / self.time_base), last_pts + 1)
            yield VideoFrame(index, last_pts, np.asarray(picture, dtype=np.uint8))
            index += 1


def _opened(number: int) -> cv2.VideoCapture:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # each driver would complain on its own
    try:
        camera = cv2.VideoCapture(number) if number < 2**31 else None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if camera is None or not camera.isOpened():
        raise InputError(f"--source {number}: no camera of that number can be opened")
    return camera
