"""Identities across frames by ultralytics' ByteTrack, and alerts that do not flicker."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.records import Detections

LOW_SCORE = 0.4  # of the threshold: weaker detections than it, down to this share, may go on a track, not begin one
LOST_FRAMES = 30  # frames for which a track that is not seen keeps its identity
MATCH_COST = 0.8  # ByteTrack's: the highest 1 - IoU * score of a pair


@dataclass(frozen=True)
class AlertRule:
    """Raise an alert once a track was seen in `needed` of the last `window` frames; it then stays with the track."""

    needed: int = 3
    window: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.window:
            raise InputError(f"--alert {self.needed}/{self.window}: write N/M with 1 <= N <= M, such as 3/5")

    @staticmethod
    def parse(text: str) -> AlertRule:
        """Read "3/5". Raises InputError for anything else."""
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None:
            raise InputError(f"--alert {text}: write N/M with 1 <= N <= M, such as 3/5")
        return AlertRule(int(match[1]), int(match[2]))


@dataclass(frozen=True, eq=False)
class Tracked:
    """The detections of a frame that count, with the identity of each (None: no track yet) and whether it is raised."""

    detections: Detections
    tracks: tuple[int | None, ...]
    alerts: tuple[bool, ...]


class Tracker:
    """Follows the detections of one video, frame by frame.

    conf: score that a detection needs to begin a track; the predictor's own threshold should be `low_conf`.
    Raises InputError where ultralytics, torch or lap are not installed.
    """

    def __init__(self, conf: float, rule: AlertRule) -> None:
        try:
            from models.backbone import ultralytics_module

            byte_track = ultralytics_module("trackers.byte_tracker").BYTETracker
        except ImportError as error:
            raise InputError(f"--track needs torch, ultralytics and lap ({error}): pip install lap") from None
        self.conf, self.rule = conf, rule
        settings = SimpleNamespace(
            track_high_thresh=conf, track_low_thresh=low_conf(conf), new_track_thresh=conf, track_buffer=LOST_FRAMES,
            match_thresh=MATCH_COST, fuse_score=True,
        )  # fmt: skip
        self._tracker: Any = byte_track(settings)
        self._seen: dict[int, deque[int]] = {}  # by identity: the frames, of the last `window`, in which it was seen
        self._raised: set[int] = set()
        self._frame = -1

    def update(self, found: Detections) -> Tracked:
        """Take the detections of the next frame; returns those above `conf` or on a track."""
        self._frame += 1
        rows = self._tracker.update(_Boxes.of(found))
        identity: list[int | None] = [None] * len(found)
        for row in rows:
            identity[int(row[7])] = int(row[4])
        for track in {int(row[4]) for row in rows}:
            self._see(track)
        self._forget()
        kept = [k for k in range(len(found)) if identity[k] is not None or found.scores[k] > self.conf]
        chosen = Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])
        tracks = tuple(identity[k] for k in kept)
        return Tracked(chosen, tracks, tuple(track in self._raised for track in tracks))

    def _see(self, track: int) -> None:
        seen = self._seen.setdefault(track, deque(maxlen=self.rule.needed))
        seen.append(self._frame)
        if len(seen) == self.rule.needed and self._frame - seen[0] < self.rule.window:
            self._raised.add(track)

    def _forget(self) -> None:
        """Drop what ByteTrack has given up, so that memory does not grow with the video."""
        oldest = self._frame - LOST_FRAMES - self.rule.window - 1
        for track in [track for track, seen in self._seen.items() if seen[-1] < oldest]:
            del self._seen[track]
            self._raised.discard(track)


def low_conf(conf: float) -> float:
    """Return the score down to which a tracker wants detections, for a threshold `conf` of tracks."""
    return LOW_SCORE * conf


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Detections in the form ByteTrack reads: boxes by centre and size in pixels, float32 [N, 4]."""

    xywh: NDArray[np.float32]
    conf: NDArray[np.float32]
    cls: NDArray[np.int64]

    @staticmethod
    def of(found: Detections) -> _Boxes:
        low, high = found.boxes_xyxy[:, :2], found.boxes_xyxy[:, 2:]
        xywh = np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)
        return _Boxes(xywh, np.asarray(found.scores, np.float32), np.asarray(found.class_ids, np.int64))

    def __len__(self) -> int:
        return len(self.conf)

    def __getitem__(self, chosen: Any) -> _Boxes:
        return _Boxes(self.xywh[chosen], self.conf[chosen], self.cls[chosen])
