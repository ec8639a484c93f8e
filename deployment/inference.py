"""Run a `Predictor` over images, videos or a camera: draw, show, write, count.

Reading, detecting and writing overlap (deployment/pipeline.py); what comes out does not depend on it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_utils.errors import InputError, InterruptedRun
from data_utils.imaging.images import DecodedImage, read_bgr, write_image
from data_utils.stop import StopSignal
from data_utils.types import Detections
from deployment.camera import CameraReader
from deployment.detection_files import DetectionFiles, OutputStems
from deployment.draw import draw_detections
from deployment.network import NetworkReader
from deployment.pipeline import Behind, overlapped
from deployment.run_parts import RunOptions, RunParts
from deployment.run_summary import RunSummary
from deployment.sources import Sources
from deployment.stream import AnnotatedStream
from deployment.video import VideoReader
from evaluation.video_records import FrameRecord
from models.predictor import Predictor

JPEG_QUALITY = 95
WAITING_WRITES = 4  # frames that may wait for the encoder
WINDOW = "SRE-YOLO (q closes)"


class InferenceRun:
    """Annotate sources with what `predictor` finds.

    out_dir: where annotated copies go, or None; a copy never takes the name of a file that is there. files: where
    detections go as text.
    """

    def __init__(
        self,
        predictor: Predictor,
        out_dir: Path | None,
        options: RunOptions | None = None,
        files: DetectionFiles | None = None,
    ) -> None:
        self.options = options or RunOptions()
        if self.options.show:
            _need_display()
        if out_dir is not None:
            _need_writable(out_dir)
        self.predictor, self.out_dir, self.files = predictor, out_dir, files
        self.summary = RunSummary()
        self._shared = RunParts(predictor, self.options, out_dir, files, self.summary)
        self._stop, self._window_closed = StopSignal(), False

    def run(self, sources: Sources) -> RunSummary:
        """Go through all sources.

        Unreadable files among several are skipped, with the reason in the summary; InputError when none could be read.
        After Ctrl-C or SIGTERM the file at hand is finished, then InterruptedRun is raised.
        """
        self._warm_up()
        self._shared = replace(self._shared, stems=OutputStems(sources.images, sources.videos, sources.root))
        if sources.ignored:
            self.summary.counts["files that are neither image nor video"] += sources.ignored
        try:
            with self._stop:
                if sources.images:
                    self._images(sources)
                self._each_video(sources)
                if sources.camera is not None:
                    with CameraReader(sources.camera) as reader:
                        self._stream(reader, reader.name, reader.name, Path())
                if sources.stream is not None:
                    with NetworkReader(sources.stream, lambda: self._ended) as reader:
                        self._stream(reader, reader.source, reader.name, Path())
        finally:
            if self.files is not None:
                self.files.close()
        if self.options.show:
            cv2.destroyAllWindows()
        self._raise_if_cut_short()
        self.summary.outputs += self.files.outputs if self.files is not None else []
        if self.predictor.nonfinite_frames:
            self.summary.counts["frames with NaN or infinite detector output"] = self.predictor.nonfinite_frames
        return self.summary

    @property
    def _ended(self) -> bool:
        return self._window_closed or bool(self._stop)

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Count the time of reading, detecting and writing; setting up, such as a tracker's imports, is left out."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.summary.seconds += time.perf_counter() - start

    def _warm_up(self) -> None:
        side = self.predictor.backend.input_size
        self.predictor.backend(np.zeros((1, 3, side, side), dtype=np.float32))  # the first call is slow: not timed

    def _each_video(self, sources: Sources) -> None:
        for path in sources.videos:
            if self._ended:
                return
            try:
                with VideoReader(path, self.options.fps) as reader:
                    self._stream(reader, str(path), path.stem, path.relative_to(sources.root).parent)
            except InputError as error:
                self.summary.skipped.append(str(error))

    def _raise_if_cut_short(self) -> None:
        if self._stop.number is not None:
            outputs = [*self.summary.outputs[-1:], *(self.files.outputs if self.files is not None else [])]
            whole = f"{', '.join(map(str, outputs))} {'is' if len(outputs) == 1 else 'are'} whole up to there"
            kept = whole if outputs else "nothing was written"
            raise InterruptedRun(f"stopped after {self.summary.frames} frames; {kept}", 128 + self._stop.number)
        skipped = self.summary.skipped
        if skipped and not self.summary.frames:
            raise InputError(skipped[0] + (f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""))

    def _images(self, sources: Sources) -> None:
        def detect(item: tuple[Path, DecodedImage | InputError]) -> tuple[Detections, float] | None:
            return None if isinstance(item[1], InputError) else self._shared.detect(item[1].bgr)

        found_in = overlapped(_decoded(sources.images), detect, self.predictor.backend.parallel)
        bar = tqdm(total=len(sources.images), unit="image", disable=len(sources.images) < 2 or None)
        writing = Behind(WAITING_WRITES)
        with self._clock(), closing(found_in), bar, writing as behind:  # pyright: ignore[reportArgumentType]
            for (path, decoded), result in found_in:
                if self._ended:
                    return
                bar.update()
                if isinstance(decoded, InputError) or result is None:
                    self.summary.skipped.append(str(decoded))
                    continue
                self.summary.counts.update(decoded.notes)
                self._image(path, decoded.bgr.copy(), *result, path.relative_to(sources.root).parent, behind)

    def _image(
        self, path: Path, bgr: NDArray[np.uint8], found: Detections, seconds: float, folder: Path, behind: Behind
    ) -> None:
        found = found.above(self._shared.conf)
        self.summary.count(len(found) > 0, seconds)
        record = FrameRecord(str(path), 0, None, (bgr.shape[1], bgr.shape[0]), found)
        draw_detections(bgr, found, self.predictor.backend.names)
        behind.do(lambda: self._write_image(path, bgr, record, folder))
        self._display(bgr, wait_ms=0)

    def _write_image(self, path: Path, bgr: NDArray[np.uint8], record: FrameRecord, folder: Path) -> None:
        ending = path.suffix.lower() if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
        stem = self._shared.stems.of_picture(self.out_dir, folder, path.stem, ending)
        target = None if self.out_dir is None else self.out_dir / folder / f"{stem}{ending}"
        if self.files is not None:
            self.files.write(record, stem, folder, target)
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, bgr, JPEG_QUALITY)
            self.summary.outputs.append(target)

    def _stream(self, reader: VideoReader | CameraReader | NetworkReader, source: str, name: str, folder: Path) -> None:
        """Annotate frame by frame; the file is finished whatever ends the loop."""
        stream = AnnotatedStream(self._shared, reader, source, name, folder)
        found_in = overlapped(reader, stream.detect, self.predictor.backend.parallel)
        bar = tqdm(total=reader.n_frames, unit="frame", desc=name, disable=None)
        try:
            with self._clock():
                with closing(found_in), bar, Behind(WAITING_WRITES) as behind:  # pyright: ignore[reportArgumentType]
                    for frame, result in found_in:
                        stream.annotate(frame, result, behind)
                        bar.update()
                        self._display(frame.bgr, wait_ms=1)
                        if self._ended:
                            break
                stream.finish()
        finally:
            stream.finish()
            self.summary.counts.update({f"{name}: {what}": count for what, count in reader.counts.items()})

    def _display(self, bgr: NDArray[np.uint8], wait_ms: int) -> None:
        if self.options.show:
            cv2.imshow(WINDOW, bgr)
            self._window_closed = cv2.waitKey(wait_ms) & 0xFF in (ord("q"), 27)  # 27: Esc


def _decoded(paths: Iterable[Path]) -> Iterator[tuple[Path, DecodedImage | InputError]]:
    """Decode images one after another; an unreadable one gives its error, so that the others go on."""
    for path in paths:
        try:
            yield path, read_bgr(path)
        except InputError as error:
            yield path, error


def _need_writable(folder: Path) -> None:
    """Meet a folder that cannot be written to before the work, not after its first frame."""
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()


def _need_display() -> None:
    """Qt ends the whole process where there is no display, so that is asked first."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("--show: there is no display here; use --save and look at the files")
