"""Frames of a network stream (rtsp://, http://, ...): lost connections are taken up again, and counted.

What stands before the host's name or behind a question mark of an address may be a secret: it goes to FFmpeg alone,
never into messages, files or their names.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Self
from urllib.parse import urlsplit

import av
import av.error
import cv2
import numpy as np

from data_utils.errors import InputError
from data_utils.imaging.video import as_displayed, failure_reason, usable_rate
from deployment.video import DEFAULT_FPS, VideoFrame

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "srt")
ANSWER_SECONDS = 10.0  # after which a source that says nothing counts as lost
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each try to connect again
# A playlist may send FFmpeg on to other addresses, but to no file of this machine.
OPTIONS = {"rtsp_transport": "tcp", "protocol_whitelist": "rtsp,rtsps,http,https,rtmp,rtmps,udp,srt,rtp,tcp,tls,crypto"}


def is_address(source: str) -> bool:
    """Say whether `source` has the form of a network address, "scheme://..."."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", source) is not None


def shown_address(address: str) -> str:
    """Return an address without user, password, query and fragment."""
    scheme, _, rest = address.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    at = path.rfind("@") if "@" in path and "@" not in host else -1  # a password with an unescaped slash
    if at >= 0:
        host, slash, path = path[at + 1 :].partition("/")
    return f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{path}"


class NetworkReader:
    """Iterate over the frames of the stream at `address` until it ends, or is lost for good; `ended` stops the waiting.

    A live stream that breaks off goes on where it is when it answers again, later by the seconds it was gone; of a file
    that is read over the network, frames that were seen are passed over. Raises InputError for an address that cannot
    be opened, or holds no video.
    """

    time_base = Fraction(1, 90_000)
    n_frames = None

    def __init__(self, address: str, ended: Callable[[], bool] = lambda: False) -> None:
        self.source = shown_address(address)
        parts = urlsplit(self.source)
        words = [parts.hostname or "", *parts.path.rsplit(".", 1)[0].split("/")]
        self.name = re.sub(r"[^\w.-]+", "_", "_".join(filter(None, ["stream", *words])))
        self.counts: Counter[str] = Counter()
        self._address, self._ended = address, ended
        if parts.scheme not in SCHEMES:
            raise InputError(f"--source {self.source}: no stream that can be read; use {', '.join(SCHEMES)}")
        try:
            self._container = self._open()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"--source {self.source}: {_reason(error)}") from None
        stream: Any = self._container.streams.video[0]
        self.frame_rate = usable_rate(stream.average_rate) or DEFAULT_FPS
        self.pixel_aspect = Fraction(stream.sample_aspect_ratio or 1)
        self._first: int | None = None  # the stream's own time of its first picture
        self._n_tries = 0  # to connect again, since the last picture
        self._start, self._last = 0, -1  # in the time base: of the present connection's first picture; the last's

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[VideoFrame]:
        index, size = 0, None
        while True:
            whole, n_before = True, index
            try:
                for frame in self._pictures(index):
                    bgr = as_displayed(frame)
                    size = size or (bgr.shape[1], bgr.shape[0])
                    if (bgr.shape[1], bgr.shape[0]) != size:
                        self.counts["frames resized to the first one's size"] += 1
                        bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
                    yield VideoFrame(index, self._last, bgr)
                    index += 1
            except (av.error.FFmpegError, OSError):
                whole = False
            if index > n_before:
                self._n_tries = 0
            if self._ended() or (whole and self._is_at_its_end()) or not self._again(index):
                break
        if not index:
            raise InputError(f"--source {self.source}: opened, but gives no picture")

    def _open(self) -> Any:
        container: Any = av.open(self._address, timeout=ANSWER_SECONDS, options=OPTIONS, metadata_errors="ignore")
        if not container.streams.video:
            container.close()
            raise ValueError("holds no video stream")
        return container

    def _pictures(self, n_seen: int) -> Iterator[Any]:
        """Yield the connection's decoded frames, `_last` set to the time of each."""
        stream: Any = self._container.streams.video[0]
        base = Fraction(stream.time_base or 1 / self.frame_rate)
        repeats, first, before = False, None, self._last
        for packet in self._container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.counts["frames that did not decode"] += 1
                continue
            for number, frame in enumerate(frames):
                own = frame.pts if frame.pts is not None else round(number / self.frame_rate / base)
                if first is None:
                    first = own
                    repeats = n_seen > 0 and own == self._first and not self._is_live
                    self._start = 0 if repeats else self._start
                    self._first = own if self._first is None else self._first
                at = self._start + round((own - first) * base / self.time_base)
                if repeats and at <= before:
                    continue
                self._last = max(at, self._last + 1)
                yield frame

    @property
    def _is_live(self) -> bool:
        return not self.source.startswith("http")

    def _is_at_its_end(self) -> bool:
        """Say whether a connection that closed without a fault did so because all was sent."""
        duration = self._container.duration  # in microseconds
        return not self._is_live and (not duration or self._last * self.time_base > Fraction(duration, 10**6) - 1)

    def _again(self, n_seen: int) -> bool:
        """Connect again, in a few tries; returns whether that worked."""
        lost = time.monotonic()
        self._container.close()
        for wait in WAITS[self._n_tries :]:
            self._n_tries += 1
            until = time.monotonic() + wait
            while time.monotonic() < until and not self._ended():
                time.sleep(0.05)
            if self._ended():
                return False
            try:
                self._container = self._open()
            except (av.error.FFmpegError, OSError, ValueError):
                continue
            gone = time.monotonic() - lost
            self.counts["connection lost and taken up again"] += 1
            self.counts["seconds without a picture, rounded up"] += int(gone) + 1
            self._start = self._last + max(1, round(gone / self.time_base))
            return True
        self.counts[f"connection lost for good after frame {n_seen - 1}, {len(WAITS)} tries"] += 1
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    return f"cannot be read as a stream ({failure_reason(error)})" if not isinstance(error, ValueError) else str(error)
