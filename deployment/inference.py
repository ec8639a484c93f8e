"""Run a `Predictor` over images, videos or a camera: draw, show, write, count."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_utils.errors import InputError, InterruptedRun
from data_utils.imaging.images import read_bgr, write_image
from data_utils.stop import StopSignal
from data_utils.videos.video_decoding import usable_rate
from deployment.camera import CameraReader
from deployment.draw import draw_detections, draw_fps
from deployment.sources import Sources
from deployment.video import VideoReader, VideoWriter
from models.predictor import Predictor

JPEG_QUALITY = 95
MAX_STEM_BYTES = 180  # leaves room in 255 bytes for a counter, an ending and the mark of an unfinished file
FPS_MEMORY = 0.9  # share of the shown frame rate that the next one keeps, so that the digits stand still
WINDOW = "SRE-YOLO (q closes)"


@dataclass
class RunSummary:
    """What a run did. seconds: time in the detector alone (resize, network, suppression)."""

    frames: int = 0
    frames_with_detections: int = 0
    seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def mean_fps(self) -> float:
        """Frames per second of the detector; 0 before the first frame."""
        return self.frames / self.seconds if self.seconds else 0.0

    def lines(self) -> list[str]:
        """Return the closing summary, one entry a line."""
        outputs = ", ".join(map(str, self.outputs[:1])) or "none (--save writes annotated copies)"
        more = f" and {len(self.outputs) - 1} more beside it" if len(self.outputs) > 1 else ""
        return [
            f"frames                  {self.frames}",
            f"frames with detections  {self.frames_with_detections}",
            f"mean FPS                {self.mean_fps:.1f} (detector alone: resize, network, NMS)",
            f"output                  {outputs}{more}",
            *(f"note                    {what}: {count}" for what, count in self.counts.items()),
            *(f"skipped                 {reason}" for reason in self.skipped),
        ]


class InferenceRun:
    """Annotate sources with what `predictor` finds.

    out_dir: where annotated copies go, or None; a copy never takes the name of a file that is there.
    show: open a window. fps: frame rate of videos, over what they state.
    """

    def __init__(
        self, predictor: Predictor, out_dir: Path | None, show: bool = False, fps: float | None = None
    ) -> None:
        if fps is not None and usable_rate(fps) is None:
            raise InputError(f"--fps {fps}: not a usable frame rate")
        if show:
            _need_display()
        self.predictor, self.out_dir, self.show, self.fps = predictor, out_dir, show, fps
        self.summary = RunSummary()
        self._stop, self._window_closed = StopSignal(), False

    def run(self, sources: Sources) -> RunSummary:
        """Go through all sources.

        Unreadable files among several are skipped, with the reason in the summary; InputError when none could be read.
        After Ctrl-C or SIGTERM the file at hand is finished, then InterruptedRun is raised.
        """
        side = self.predictor.backend.input_size
        self.predictor.backend(np.zeros((1, 3, side, side), dtype=np.float32))  # the first call is slow: not timed
        if sources.ignored:
            self.summary.counts["files that are neither image nor video"] += sources.ignored
        with self._stop:
            self._each(tqdm(sources.images, unit="image", disable=len(sources.images) < 2), self._image, sources.root)
            self._each(sources.videos, self._video, sources.root)
            if sources.camera is not None:
                self._camera(sources.camera)
        if self.show:
            cv2.destroyAllWindows()
        self._raise_if_cut_short()
        if self.predictor.nonfinite_frames:
            self.summary.counts["frames with NaN or infinite detector output"] = self.predictor.nonfinite_frames
        return self.summary

    @property
    def _ended(self) -> bool:
        return self._window_closed or bool(self._stop)

    def _each(self, paths: Iterable[Path], annotate: Callable[[Path, Path], None], root: Path) -> None:
        for path in paths:
            if self._ended:
                return
            try:
                annotate(path, path.relative_to(root).parent)
            except InputError as error:
                self.summary.skipped.append(str(error))

    def _raise_if_cut_short(self) -> None:
        if self._stop.number is not None:
            outputs = self.summary.outputs
            kept = f"{outputs[-1]} is whole up to there" if outputs else "nothing was written"
            raise InterruptedRun(f"stopped after {self.summary.frames} frames; {kept}", 128 + self._stop.number)
        skipped = self.summary.skipped
        if skipped and not self.summary.frames:
            raise InputError(skipped[0] + (f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""))

    def _image(self, path: Path, folder: Path) -> None:
        decoded = read_bgr(path)
        self.summary.counts.update(decoded.notes)
        bgr = decoded.bgr.copy()
        self._detect_and_draw(bgr)
        if self.out_dir is not None:
            ending = path.suffix.lower() if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
            target = unused_path(self.out_dir / folder, path.stem, ending)
            write_image(target, bgr, JPEG_QUALITY)
            self.summary.outputs.append(target)
        self._display(bgr, wait_ms=0)

    def _video(self, path: Path, folder: Path) -> None:
        with VideoReader(path, self.fps) as reader:
            self._stream(reader, path.stem, folder)

    def _camera(self, number: int) -> None:
        with CameraReader(number) as reader:
            self._stream(reader, reader.name, Path())

    def _stream(self, reader: VideoReader | CameraReader, name: str, folder: Path) -> None:
        """Annotate frame by frame; the file is finished whatever ends the loop."""
        writer: VideoWriter | None = None
        shown_fps = 0.0
        try:
            for frame in tqdm(reader, total=reader.n_frames, unit="frame", desc=name):
                fps = 1 / self._detect_and_draw(frame.bgr)
                shown_fps = FPS_MEMORY * shown_fps + (1 - FPS_MEMORY) * fps if shown_fps else fps
                draw_fps(frame.bgr, shown_fps)
                if self.out_dir is not None:
                    writer = writer or self._writer(reader, frame.bgr, name, folder)
                    writer.write(frame.bgr, frame.pts)
                self._display(frame.bgr, wait_ms=1)
                if self._ended:
                    break
        finally:
            self.summary.counts.update({f"{name}: {what}": count for what, count in reader.counts.items()})
            if writer is not None:
                writer.close()

    def _writer(
        self, reader: VideoReader | CameraReader, bgr: NDArray[np.uint8], name: str, folder: Path
    ) -> VideoWriter:
        assert self.out_dir is not None
        target = unused_path(self.out_dir / folder, name, ".mp4")
        self.summary.outputs.append(target)
        return VideoWriter(target, (bgr.shape[1], bgr.shape[0]), reader.frame_rate, reader.time_base)

    def _detect_and_draw(self, bgr: NDArray[np.uint8]) -> float:
        """Detect, count, and draw in place; returns the detector's seconds."""
        start = time.perf_counter()
        found = self.predictor.predict(bgr)
        seconds = time.perf_counter() - start
        self.summary.frames += 1
        self.summary.frames_with_detections += len(found) > 0
        self.summary.seconds += seconds
        draw_detections(bgr, found, self.predictor.backend.names)
        return seconds

    def _display(self, bgr: NDArray[np.uint8], wait_ms: int) -> None:
        if self.show:
            cv2.imshow(WINDOW, bgr)
            self._window_closed = cv2.waitKey(wait_ms) & 0xFF in (ord("q"), 27)  # 27: Esc


def unused_path(folder: Path, stem: str, ending: str) -> Path:
    """Return `folder`/`stem``ending`, or the first of stem_2, stem_3, ... that no file has; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    path, number = folder / f"{stem}{ending}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}_{number}{ending}"
    return path


def _need_display() -> None:
    """Qt ends the whole process where there is no display, so that is asked first."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("--show: there is no display here; use --save and look at the files")
