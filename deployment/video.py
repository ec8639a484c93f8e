"""Video in and H.264 MP4 out, frame by frame, with the source's timing.

What goes wrong in a stream (frames that do not decode, sizes that change, impossible frame rates) is counted, never
hidden: a frame left out keeps its index and its time, so that the picture before it stays on screen a little longer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.imaging.video import (
    as_displayed,
    decoded_frames,
    estimated_frames,
    failure_reason,
    file_name,
    has_own_times,
    open_video,
    untimed_note,
    usable_rate,
)

JITTER_SECONDS = 1  # timestamps that run backwards by more start anew: another recording was joined on
DEFAULT_FPS = Fraction(25)  # for a video that states no usable frame rate
# Half the time of preset veryfast; boxes and text stay clean, files are twice as large.
H264_OPTIONS = {"crf": "21", "preset": "ultrafast"}
MP4_OPTIONS = {"movflags": "+faststart"}
BT601, LIMITED_RANGE = 6, 1  # the matrix and range OpenCV converts BGR with; stated so that players invert the same


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One decoded picture. index: position in the source, counting frames that failed; pts: in the time base.

    bgr: uint8 [H, W, 3] as displayed.
    """

    index: int
    pts: int
    bgr: NDArray[np.uint8]


class VideoReader:
    """Iterate over the frames of a file; raises InputError for one that holds no video.

    fps: overrides the stated rate; frames are then evenly spaced. counts: what was left out or changed, by reason.
    frame_rate, time_base, pixel_aspect: for the writer; the last, a pixel's width over its height as displayed, is
    right from the first frame on. n_frames: estimate from the header, or None.
    """

    def __init__(self, path: Path, fps: float | None = None) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self._container, self._stream = open_video(path)
        stated = usable_rate(self._stream.average_rate)
        self._untimed = fps is None and stated is not None and not has_own_times(self._container, self._stream)
        self.even = fps is not None or stated is None or self._untimed or not self._stream.time_base
        self.frame_rate = usable_rate(fps) or stated or DEFAULT_FPS
        self.time_base = 1 / self.frame_rate if self.even else Fraction(self._stream.time_base)
        self.pixel_aspect = Fraction(self._stream.sample_aspect_ratio or 1)
        self.n_frames = estimated_frames(self._container, self._stream, self.frame_rate)
        if fps is None and stated is None:
            self.counts[f"no usable frame rate stated, took {float(self.frame_rate):g}"] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        index, size, clock = -1, None, _Clock(self)
        for index, frame in enumerate(decoded_frames(self._container, self._stream, self.counts)):
            if frame is None:
                continue
            bgr = as_displayed(frame)
            if size is None and frame.rotation % 180:
                self.pixel_aspect = 1 / self.pixel_aspect
            size = size or (bgr.shape[1], bgr.shape[0])
            if (bgr.shape[1], bgr.shape[0]) != size:
                self.counts["frames resized to the first one's size"] += 1
                bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
            yield VideoFrame(index, clock.pts(frame, index), bgr)
        if size is None:
            failed = "".join(f"; {what}: {count}" for what, count in self.counts.items())
            raise InputError(f"{self.path}: no frame could be decoded{failed}")
        if self._untimed:
            self.counts[untimed_note(self.frame_rate)] = index + 1
        if index + 1 < self._stream.frames:
            self.counts["frames the header promised, but the file does not hold"] = self._stream.frames - index - 1


class _Clock:
    """Times of a reader's frames from 0, in its time base, always growing: players refuse time that does not.

    Joined recordings, each of which begins at its own 0, go on one after the other, and are counted.
    """

    def __init__(self, reader: VideoReader) -> None:
        self._reader, self._first, self._last, self._offset = reader, 0, -1, 0
        self._frame = max(1, round(1 / reader.frame_rate / reader.time_base))

    def pts(self, frame: Any, index: int) -> int:
        """Return the time of the next frame."""
        reader = self._reader
        stated = None if reader.even else frame.pts
        at = round(index / reader.frame_rate / reader.time_base) if stated is None else stated + self._offset
        if self._last < 0:
            self._first = at
        at -= self._first
        if stated is not None and (self._last - at) * reader.time_base > JITTER_SECONDS:
            self._offset += self._last + self._frame - at
            at = self._last + self._frame
            reader.counts["times that ran backwards, taken to go on"] += 1
        self._last = max(at, self._last + 1)
        return self._last


class VideoWriter:
    """Write an H.264 MP4 (yuv420p, index first) that plays in browsers; use as a context manager.

    Written under a hidden name and renamed when finished. Leaving the block finishes the file, also after an error, so
    what was written stays playable; a file without a frame is removed and `finished` stays False.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        frame_rate: Fraction,
        time_base: Fraction,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path, self.finished, self.n_written = path, False, 0
        self._partial = path.with_name(f".{path.stem}.part.mp4")
        self._time_base = time_base
        try:
            self._container: Any = av.open(file_name(self._partial), "w", format="mp4", options=MP4_OPTIONS)
            self._stream: Any = self._container.add_stream("libx264", rate=frame_rate, options=H264_OPTIONS)
        except ValueError as error:
            raise InputError(f"{path}: this FFmpeg cannot write H.264 ({failure_reason(error)})") from None
        # yuv420p stores colour for 2 x 2 pixels, so sides are even.
        self._stream.width, self._stream.height = (side + side % 2 for side in size)
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base, context.sample_aspect_ratio = time_base, pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = BT601
        context.color_range = LIMITED_RANGE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def write(self, bgr: NDArray[np.uint8], pts: int) -> None:
        """Append uint8 [H, W, 3] shown from `pts` on, in units of the time base; `pts` must grow."""
        height, width = bgr.shape[:2]
        if height % 2 or width % 2:
            bgr = np.asarray(cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
        # OpenCV rounds to nearest; FFmpeg's own conversion darkens by two grey levels and takes ten times longer.
        planes = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = pts, self._time_base
        self._container.mux(self._stream.encode(frame))
        self.n_written += 1

    def close(self) -> None:
        """Flush the encoder, write the index and give the file its name; without its index it would not play: removed.
        """
        whole = False
        try:
            try:
                if self.n_written:
                    self._container.mux(self._stream.encode(None))
            finally:
                self._container.close()
            whole = self.n_written > 0
        finally:
            if not whole:
                self._partial.unlink(missing_ok=True)
        if whole:
            self._partial.replace(self.path)
            self.finished = True


# Frames of a connected camera, with the time at which each arrived.


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
