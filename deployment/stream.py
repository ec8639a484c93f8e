"""A video or camera being annotated: from a frame's detections to what is counted, drawn and written."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_utils.types import Detections
from deployment.camera import CameraReader
from deployment.detection_files import FRAME_NUMBER
from deployment.draw import draw_detections, draw_fps
from deployment.network import NetworkReader
from deployment.pipeline import Behind
from deployment.run_parts import RunParts
from deployment.tracking import Tracker
from deployment.video import VideoFrame, VideoReader, VideoWriter
from evaluation.video_records import FrameRecord

FPS_MEMORY = 0.9  # share of the shown frame rate that the next one keeps, so that the digits stand still


class AnnotatedStream:
    """One video or camera of a run: what its frames share. Frames come in order, but for `detect`."""

    def __init__(
        self, run: RunParts, reader: VideoReader | CameraReader | NetworkReader, source: str, name: str, folder: Path
    ) -> None:
        self.run, self.reader, self.source, self.folder = run, reader, source, folder
        text = run.files is not None and run.files.labels_dir is not None
        self.stem = run.stems.of_video(run.out_dir, folder, name, with_text=text)
        self.target = None if run.out_dir is None else run.out_dir / folder / f"{self.stem}.mp4"
        rule = run.options.track
        self.tracker = Tracker(run.conf, rule) if rule is not None else None
        self.writer: VideoWriter | None = None
        self.shown_fps, self._last_time = 0.0, time.perf_counter()
        self._last = FrameRecord(source, 0, 0.0, (0, 0), Detections.empty())

    def detect(self, frame: VideoFrame) -> tuple[Detections, float] | None:
        """Detect in a frame whose turn it is (`every`); called from several threads."""
        return None if frame.index % self.run.options.every else self.run.detect(frame.bgr)

    def annotate(self, frame: VideoFrame, result: tuple[Detections, float] | None, behind: Behind) -> None:
        """Track, count, draw in place, and hand the frame to the encoder."""
        seconds = None
        if result is not None:
            found, seconds = result
            self._last = self._record(frame, found)
        record, files = self._last, self.run.files
        shown = [k for k, raised in enumerate(record.raised) if raised]
        self.run.summary.count(bool(shown), seconds)
        found = record.detections
        tracks = None if record.tracks is None else [record.tracks[k] for k in shown]
        chosen = Detections(found.boxes_xyxy[shown], found.scores[shown], found.class_ids[shown])
        draw_detections(frame.bgr, chosen, self.run.predictor.backend.names, tracks)
        draw_fps(frame.bgr, self._fps())
        if files is not None and result is not None:
            stem = self.stem + FRAME_NUMBER.format(record.frame)
            behind.do(lambda: files.write(record, stem, self.folder, self.target))
        if self.target is not None:
            self.writer = self.writer or self._new_writer(frame.bgr, self.target)
            writer = self.writer
            behind.do(lambda: writer.write(frame.bgr, frame.pts))

    def finish(self) -> None:
        """Close the file, whole or cut short; a second call does nothing."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()
            if writer.finished:
                self.run.summary.outputs.append(writer.path)

    def _record(self, frame: VideoFrame, found: Detections) -> FrameRecord:
        tracks = alerts = None
        if self.tracker is not None:
            tracked = self.tracker.update(found)
            found, tracks, alerts = tracked.detections, tracked.tracks, tracked.alerts
        size = (frame.bgr.shape[1], frame.bgr.shape[0])
        seconds = round(float(frame.pts * self.reader.time_base), 6)
        return FrameRecord(self.source, frame.index, seconds, size, found, tracks, alerts)

    def _fps(self) -> float:
        now = time.perf_counter()
        fps, self._last_time = 1 / max(now - self._last_time, 1e-6), now
        self.shown_fps = FPS_MEMORY * self.shown_fps + (1 - FPS_MEMORY) * fps if self.shown_fps else fps
        return self.shown_fps

    def _new_writer(self, bgr: NDArray[np.uint8], target: Path) -> VideoWriter:
        target.parent.mkdir(parents=True, exist_ok=True)
        reader = self.reader
        size = (bgr.shape[1], bgr.shape[0])
        return VideoWriter(target, size, reader.frame_rate, reader.time_base, reader.pixel_aspect)
