"""Still frames of a video, one every n seconds, as displayed and numbered as in the video.

Time is the picture's own timestamp. Where a file has none, or states an impossible frame rate, what is taken in its
place is counted and reported; frames that do not decode keep their number, so that names never shift.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.videos.video_decoding import (
    as_displayed,
    decoded_frames,
    estimated_frames,
    file_name,
    has_own_times,
    open_video,
    untimed_note,
    usable_rate,
)

TOLERANCE = Fraction(1, 1000)  # seconds; containers round timestamps to milliseconds
JITTER = 1  # second; timestamps that run backwards by more start anew
PEEKED = 100  # packets looked at to judge timestamps where no usable rate is stated


@dataclass(frozen=True, eq=False)
class StillFrame:
    """One picture. index: its number in the video, from 0, counting frames that failed; bgr: uint8 [H, W, 3]."""

    index: int
    bgr: NDArray[np.uint8]


class StillReader:
    """Iterate over the first good frame of a video at or after 0, n, 2n... seconds; use as a context manager.

    every_s: n, in seconds; fps: the frame rate to believe instead of the file's timestamps. counts: what was left out,
    changed or assumed, by reason; n_decoded: frames passed so far; n_frames: their number by the header, or None.
    Raises InputError for a file that is no video, cannot be timed, or holds no frame that decodes.
    """

    def __init__(self, path: Path, every_s: float, fps: float | None = None) -> None:
        self.path, self.counts, self.n_decoded = path, Counter[str](), 0
        self._every = Fraction(every_s).limit_denominator(1_000_000)
        self._container, self._stream = open_video(path)
        try:
            self._prepare(fps)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[StillFrame]:
        due, size, any_good = 0, None, False
        for index, frame in enumerate(decoded_frames(self._container, self._stream, self.counts, until_keyframe=True)):
            self.n_decoded = index + 1
            if frame is None:
                continue
            any_good = True
            slot = math.floor((self._seconds(frame, index) + TOLERANCE) / self._every)
            if slot < due:
                continue
            due = slot + 1
            bgr = as_displayed(frame)
            size = size or bgr.shape
            if bgr.shape != size:
                self.counts["frames of another size than the first"] += 1
            yield StillFrame(index, bgr)
        if not any_good:
            failed = "".join(f"; {what}: {count}" for what, count in self.counts.items())
            raise InputError(f"{self.path}: no frame could be decoded{failed}; replace or remove it")
        if self.n_decoded < self._stream.frames:
            lacking = self._stream.frames - self.n_decoded
            self.counts["frames the header promised, but the file does not hold"] = lacking

    def _prepare(self, fps: float | None) -> None:
        self._given_rate = usable_rate(fps)
        self._rate = self._given_rate or usable_rate(self._stream.average_rate)
        self._untimed = self._given_rate is None and not has_own_times(self._container, self._stream)
        if self._rate is None:
            self._rate = self._rate_by_timestamps()
            self.counts["no usable frame rate stated, went by the timestamps"] = 1
        self.n_frames = estimated_frames(self._container, self._stream, self._rate)
        self._first_pts: int | None = None
        self._offset, self._last = Fraction(0), Fraction(-1)

    def _rate_by_timestamps(self) -> Fraction:
        """Judge the timestamps of the first packets, in a second look at the file; one frame needs no timing."""
        with av.open(file_name(self.path), metadata_errors="ignore") as container:
            packets = container.demux(container.streams.video[0])
            try:
                seen = [packet.pts for packet in itertools.islice(packets, PEEKED) if packet.size]
            except av.error.FFmpegError:
                seen = []  # the reading itself will say what is wrong
        if len(seen) == 1:
            return Fraction(1)
        times = sorted({pts for pts in seen if pts is not None})
        span = (times[-1] - times[0]) * Fraction(self._stream.time_base or 0) if times else Fraction(0)
        rate = usable_rate((len(times) - 1) / span) if span else None
        if rate is None:
            raise InputError(f"{self.path}: states no usable frame rate and no usable timestamps; give --fps")
        return rate

    def _seconds(self, frame: Any, index: int) -> Fraction:
        """Return the time of a frame since the first; it never runs backwards."""
        assert self._rate is not None
        if self._given_rate is not None:
            return index / self._given_rate
        if self._untimed or frame.pts is None or not self._stream.time_base:
            self.counts[untimed_note(self._rate)] += 1
            return index / self._rate
        self._first_pts = frame.pts if self._first_pts is None else self._first_pts
        seconds = (frame.pts - self._first_pts) * Fraction(self._stream.time_base) + self._offset
        if seconds < self._last:
            self.counts["timestamps that ran backwards, taken to go on"] += 1
            if self._last - seconds > JITTER:  # joined recordings, each from 0
                self._offset += self._last + 1 / self._rate - seconds
                self._last += 1 / self._rate
            return self._last
        self._last = seconds
        return seconds
