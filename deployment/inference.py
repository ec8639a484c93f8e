"""Run a `Predictor` over images, videos or a camera: draw, show, write, count.

Reading, detecting and writing overlap (deployment/pipeline.py); what comes out does not depend on it.
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_utils.errors import InputError, InterruptedRun, StopSignal
from data_utils.files import is_hidden_below, visible_files
from data_utils.imaging.images import IMAGE_SUFFIXES, DecodedImage, read_bgr, write_image
from data_utils.imaging.video import VIDEO_SUFFIXES, usable_rate
from data_utils.records import Detections
from deployment.network import NetworkReader, is_address
from deployment.outputs import FRAME_NUMBER, DetectionFiles, OutputStems, draw_detections, draw_fps
from deployment.pipeline import Behind, overlapped
from deployment.runtimes.exported import ExportedBackend, chosen_conf
from deployment.runtimes.pytorch import TorchBackend
from deployment.runtimes.registry import open_backend
from deployment.tracking import AlertRule, Tracker, low_conf
from deployment.video import CameraReader, VideoFrame, VideoReader, VideoWriter
from evaluation.video.records import FrameRecord
from models.predictor import DEFAULT_IOU, Backend, Predictor

# What a run over sources did, and how it says so.


@dataclass
class RunSummary:
    """Counts of a run. seconds: of the whole work; detector_seconds: of resize, network and NMS, summed over frames.

    detected: frames the detector was run on; the others carry its last boxes on (`--every`).
    """

    frames: int = 0
    detected: int = 0
    frames_with_detections: int = 0
    seconds: float = 0.0
    detector_seconds: float = 0.0
    outputs: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, any_found: bool, detector_seconds: float | None) -> None:
        """Count a frame; detector_seconds: None where the detector was not run on it."""
        self.frames += 1
        self.frames_with_detections += any_found
        if detector_seconds is not None:
            self.detected += 1
            self.detector_seconds += detector_seconds

    @property
    def mean_fps(self) -> float:
        """Frames per second, reading, drawing and writing included; 0 before the first frame."""
        return self.frames / self.seconds if self.seconds else 0.0

    def lines(self) -> list[str]:
        """Return the closing summary, one entry a line."""
        outputs = ", ".join(map(str, self.outputs[:1])) or "none (--save writes annotated copies)"
        more = f" and {len(self.outputs) - 1} more beside it" if len(self.outputs) > 1 else ""
        each = 1000 * self.detector_seconds / self.detected if self.detected else 0.0
        return [
            f"frames                  {self.frames}",
            f"frames with detections  {self.frames_with_detections}",
            f"mean FPS                {self.mean_fps:.1f} (reading, writing included; {each:.1f} ms in the detector)",
            f"output                  {outputs}{more}",
            *(f"note                    {what}: {count}" for what, count in self.counts.items()),
            *(f"skipped                 {reason}" for reason in self.skipped),
        ]


# What the parts of a run share: its options, its predictor, where things go, what is counted.


@dataclass(frozen=True)
class RunOptions:
    """What to do with detections besides drawing them.

    fps: frame rate of videos, over what they state. every: detect in each n-th frame of a video, its boxes staying on
    until the next. track: follow detections through videos and show those the rule raises; images are not affected.
    conf: score that begins a track; the predictor's own should then be lower (deployment/tracking.py).
    Raises InputError for an unusable value.
    """

    show: bool = False
    fps: float | None = None
    every: int = 1
    track: AlertRule | None = None
    conf: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and usable_rate(self.fps) is None:
            raise InputError(f"--fps {self.fps}: not a usable frame rate")
        if self.every < 1:
            raise InputError(f"--every {self.every}: must be at least 1")


@dataclass(frozen=True, eq=False)
class RunParts:
    """A run's parts. out_dir: of annotated copies, or None; files: of detections as text, or None.

    stems: those of what is written, given as each picture or video comes.
    """

    predictor: Predictor
    options: RunOptions
    out_dir: Path | None
    files: DetectionFiles | None
    summary: RunSummary
    stems: OutputStems = field(default_factory=OutputStems)

    @property
    def conf(self) -> float:
        """The score from which a detection counts."""
        return self.predictor.conf if self.options.conf is None else self.options.conf

    def detect(self, bgr: NDArray[np.uint8]) -> tuple[Detections, float]:
        """Detect in a frame; returns the detector's seconds too. May be called from several threads."""
        start = time.perf_counter()
        found = self.predictor.predict(bgr)
        return found, time.perf_counter() - start


# From infer.py's command line to what a run needs.


def run_options(arguments: argparse.Namespace) -> RunOptions:
    """Read what to do with detections; raises InputError for an unusable value."""
    rule = AlertRule.parse(arguments.alert)
    return RunOptions(arguments.show, arguments.fps, arguments.every, rule if arguments.track else None)


def open_predictor(
    arguments: argparse.Namespace, options: RunOptions, *, one_at_a_time: bool
) -> tuple[Predictor, RunOptions]:
    """Open the weights with the thresholds asked for, else the file's own, else the defaults.

    one_at_a_time: each frame as soon as possible, as a camera wants it, rather than many. Raises InputError for
    thresholds below those a file with suppression in its graph applied itself.
    """
    backend = open_backend(
        arguments.weights, arguments.device, arguments.backend, throughput=not one_at_a_time,
        precision=arguments.precision,
    )  # fmt: skip
    meta = backend.meta if isinstance(backend, ExportedBackend) else None
    conf, _ = _conf(arguments, backend)
    iou = arguments.iou if arguments.iou is not None else meta.iou if meta else DEFAULT_IOU
    lowest = low_conf(conf) if options.track is not None else conf
    if meta is not None and meta.nms:
        if conf < meta.conf or iou > meta.iou:
            raise InputError(
                f"{arguments.weights}: suppressed inside at --conf {meta.conf:g} --iou {meta.iou:g}; ask for no lower "
                "score and no higher IoU, or export it without --nms"
            )
        lowest = max(lowest, meta.conf)
    predictor = Predictor(backend, lowest, iou, tile=arguments.tile, tta=arguments.tta)
    return predictor, replace(options, conf=conf)


def describe_backend(backend: Backend) -> str:
    """Return the run's first line: what computes the detections, in which number format, and why in that one."""
    kind = type(backend).__name__.removesuffix("Backend")
    if isinstance(backend, TorchBackend):
        return f"backend                 {kind} on {backend.device}, {backend.number_format}"
    meta = backend.meta if isinstance(backend, ExportedBackend) else None
    return f"backend                 {kind}" + (f", {meta.precision} (as exported)" if meta else "")


def describe_threshold(arguments: argparse.Namespace, options: RunOptions, backend: Backend) -> str:
    """Return the line that says from which score on detections count, and where that comes from."""
    return f"threshold               {options.conf:g} ({_conf(arguments, backend)[1]})"


def _conf(arguments: argparse.Namespace, backend: Backend) -> tuple[float, str]:
    if arguments.conf is None and isinstance(backend, ExportedBackend):
        return backend.meta.conf, backend.meta.conf_from
    return chosen_conf(arguments.conf, backend.threshold if isinstance(backend, TorchBackend) else None)


def open_files(arguments: argparse.Namespace, out_dir: Path, names: Sequence[str]) -> DetectionFiles | None:
    """Open the text files that were asked for, or None."""
    if not (arguments.save_txt or arguments.save_json):
        return None
    return DetectionFiles(out_dir, names, text=arguments.save_txt, json=arguments.save_json)


# A video or camera being annotated: from a frame's detections to what is counted, drawn and written.


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


# What `infer.py --source` may name: an image, a video, a folder, a glob pattern, a camera's number, an address.


@dataclass(frozen=True)
class Sources:
    """Files to run on, in order, and below which folder they were found; or a camera, or a stream's address.

    ignored: files of other kinds.
    """

    root: Path
    images: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    camera: int | None = None
    stream: str | None = None
    ignored: int = 0

    @property
    def is_live(self) -> bool:
        """Whether frames come in their own time, not as fast as they are read."""
        return self.camera is not None or self.stream is not None


def find_sources(source: str, results: Path | None = None) -> Sources:
    """Resolve `source`; files below `results` (earlier output) are no sources of a folder or pattern.

    Raises InputError when it names nothing that can be read.
    """
    if not source:
        raise InputError("--source is empty; name an image, a video, a folder, a pattern or a camera's number")
    if is_address(source):
        return Sources(Path(), stream=source)
    path = Path(source)
    if path.is_dir():
        found = visible_files(path)
        return _sorted_out(path, found, source, results)
    if path.is_file():
        if path.suffix.lower() not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise InputError(f"{path}: '{path.suffix}' is neither an image ({_listed(IMAGE_SUFFIXES)}) nor a video "
                             f"({_listed(VIDEO_SUFFIXES)})")
        return _sorted_out(path.parent, [path], source, None)
    if source.isdecimal():
        return Sources(Path(), camera=int(source))
    if glob.has_magic(source):
        found = [Path(name) for name in sorted(glob.glob(source, recursive=True)) if Path(name).is_file()]
        return _sorted_out(_fixed_part(source), found, source, results)
    raise InputError(f"--source {source}: no such file or folder, no pattern that matches, no camera number, no "
                     "address such as rtsp://HOST/PATH")


def _sorted_out(root: Path, found: list[Path], source: str, results: Path | None) -> Sources:
    fresh = found if results is None else [f for f in found if not f.resolve().is_relative_to(results.resolve())]
    visible = [file for file in fresh if not is_hidden_below(file, root)]  # unfinished output, system litter
    images = tuple(file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES)
    videos = tuple(file for file in visible if file.suffix.lower() in VIDEO_SUFFIXES)
    if not images and not videos:
        n_results = len(found) - len(fresh)
        earlier = f", {n_results} of them below the output folder {results}" if n_results else ""
        raise InputError(f"--source {source}: holds no image or video ({len(found)} files found{earlier})")
    return Sources(root, images, videos, ignored=len(found) - len(images) - len(videos))


def _fixed_part(pattern: str) -> Path:
    """Return the folder in front of a pattern's first wildcard."""
    folder = Path(pattern).parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _listed(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))


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
