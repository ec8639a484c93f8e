"""Decoding videos with PyAV: files opened or refused, failing frames counted and keeping their number, turned upright.

Imported by what takes stills out of videos and by inference, so that both see the same pictures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from data_utils.errors import InputError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".h264"}
)
LISTS_OF_FILES = frozenset({"concat", "hls", "dash", "imf", "sdp"})  # text, whatever its ending, that opens other files
NO_TIMESTAMPS = 0x80  # FFmpeg's AVFMT_NOTIMESTAMPS
REORDERED_IN_AVI = frozenset({"h264", "hevc", "vc1", "wmv3", "av1", "vvc"})
MAX_FPS = 1000  # frames per second; more, stated or by timestamps, is a damaged header
ROUND_TO_NEAREST = Interpolation.BILINEAR | Interpolation.ACCURATE_RND  # FFmpeg's default darkens by up to 5 levels
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def open_video(path: Path) -> tuple[Any, Any]:
    """Open a file and return its container and first video stream; raises InputError for one that holds no video."""
    try:
        container: Any = av.open(file_name(path), metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(f"{path}: not a readable video ({failure_reason(error)}); replace or remove it") from None
    if container.format.name in LISTS_OF_FILES:
        container.close()
        raise InputError(f"{path}: not a video but a list of other files ({container.format.name}); name those")
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: holds no video stream; replace or remove it")
    stream: Any = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def file_name(path: Path) -> str:
    """Return a path as FFmpeg takes for a file's whatever is in it: "12:30.mp4" would be one of a protocol "12"."""
    return str(path.absolute())


def decoded_frames(
    container: Any, stream: Any, counts: Counter[str], *, until_keyframe: bool = False
) -> Iterator[Any]:
    """Yield decoded frames in display order, and None for each that failed; failures are counted by reason.

    A frame decoded from a damaged one is damaged itself without saying so: with `until_keyframe`, all frames between a
    failure and the next frame that needs no other count as failed.
    """
    packets, broken = container.demux(stream), False
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            counts[f"stream broke off early ({failure_reason(error)})"] += 1
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            counts["frames that did not decode"] += 1
            broken = True
            yield None
            continue
        for frame in frames:
            broken = frame.is_corrupt or (broken and until_keyframe and not frame.key_frame)
            if broken:
                counts["damaged frames left out"] += 1
            yield None if broken else frame


def has_own_times(container: Any, stream: Any) -> bool:
    """Say whether the file states when each frame is shown.

    Raw streams do not. AVI numbers packets as they are decoded; of H.264 and its kin, where frames are decoded in
    another order than shown, the times that FFmpeg makes of that run back and forth.
    """
    if container.format.flags & NO_TIMESTAMPS:
        return False
    return container.format.name != "avi" or stream.codec_context.name not in REORDERED_IN_AVI


def untimed_note(rate: Fraction) -> str:
    """Return what is counted of frames that take a rate for want of times of their own."""
    return f"frames without times of their own, at the stated {float(rate):g} a second (--fps N for another rate)"


def estimated_frames(container: Any, stream: Any, rate: Fraction) -> int | None:
    """Return the number of frames by the header, at `rate` frames per second where only a duration is stated, or None.
    """
    if stream.frames:
        return int(stream.frames)
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * rate) or None
    return round(container.duration / av.time_base * rate) or None if container.duration else None


def usable_rate(stated: float | Fraction | None) -> Fraction | None:
    """Return a frame rate in frames per second, or None for one that is missing, 0, NaN, infinite or absurd."""
    if stated is None or not math.isfinite(stated) or not 0 < stated <= MAX_FPS:
        return None
    return Fraction(stated).limit_denominator(100_000)


def as_displayed(frame: Any) -> NDArray[np.uint8]:
    """Return a decoded frame as uint8 [H, W, 3] BGR, the stated rotation applied."""
    bgr = frame.to_ndarray(format="bgr24", interpolation=ROUND_TO_NEAREST)
    turn = _TURNS.get(int(frame.rotation) % 360)
    return bgr if turn is None else np.asarray(cv2.rotate(bgr, turn), dtype=np.uint8)


def failure_reason(error: Exception) -> str:
    """Return what FFmpeg says went wrong, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
