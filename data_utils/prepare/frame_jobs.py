"""One raw frame -> its LR and HR copies and its label file; many frames -> all processor cores.

A frame is hashed first. What an earlier run recorded for the same bytes is used again: its scores always, its copies
when they are as that run left them. A frame that must be decoded is decoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.config.sections import Config, FilterSection
from data_utils.formats.yolo import write_labels
from data_utils.imaging.images import UnreadableImage, decode_bgr, write_image
from data_utils.imaging.quality import FrameScores, Reason, crop_region, rejection_reasons, score_frame
from data_utils.prepare.folders import FrameRecord
from data_utils.processes import available_cores, map_in_processes
from data_utils.records import Annotation, crop_cxcywhn

MIN_FRAMES_FOR_POOL = 32  # to decode; for less work, starting processes costs more than it saves
HASH_COST = 0.05  # of checking that a frame's copies still stand, in units of making them
SUFFIXES = (".jpg", ".png")  # of the copies, as dataset.image_format allows
# undecided: a near-duplicate when last seen, so no copies were made; whether it still is one, the caller knows.
Action = Literal["written", "reused", "excluded", "undecided"]


@dataclass(frozen=True)
class FrameJob:
    """One raw frame, and the boxes that its label file gets."""

    image_path: Path
    stem: str
    annotation: Annotation


@dataclass(frozen=True)
class CopySettings:
    """Where copies go and everything that decides what is in them."""

    processed: Path
    lr_side: int
    hr_side: int
    suffix: str
    jpeg_quality: int
    thresholds: FilterSection
    crop_border: bool = False
    labelled: bool = True

    @staticmethod
    def from_config(config: Config) -> CopySettings:
        """Gather the settings of a data set's copies."""
        dataset = config.dataset
        return CopySettings(Path(dataset.processed), config.imgsz_lr, config.imgsz_hr, f".{dataset.image_format}",
                            dataset.jpeg_quality, dataset.filter, dataset.crop_border, dataset.labelled)  # fmt: skip

    @property
    def copies_key(self) -> str:
        """Text that changes when the copies' bytes would; the thresholds only decide whether there are copies."""
        quality = self.jpeg_quality if self.suffix == ".jpg" else "-"
        return f"lr{self.lr_side}-hr{self.hr_side}-{quality}{self.suffix}"

    def crop(self, scores: FrameScores, annotation: Annotation) -> tuple[int, ...]:
        """Return the corners in frame pixels of the part of a frame that is copied, () for the whole frame."""
        region = crop_region(scores, annotation.boxes_cxcywhn) if self.crop_border else ()
        return () if region == (0, 0, scores.width, scores.height) else region

    def copies(self, stem: str, suffix: str | None = None) -> tuple[Path, Path]:
        """Return the paths of a frame's LR and HR copies."""
        name = stem + (suffix or self.suffix)
        return self.processed / "lr" / "images" / name, self.processed / "hr" / "images" / name

    def label(self, stem: str) -> Path:
        """Return the path of a frame's label file."""
        return self.processed / "lr" / "labels" / f"{stem}.txt"

    def crowd(self, stem: str) -> Path:
        """Return the path of the file with a frame's crowds; most frames have none, and no such file."""
        return self.processed / "lr" / "crowd" / f"{stem}.txt"


@dataclass(frozen=True)
class FrameOutcome:
    """What became of a frame and its copies. `reasons` is empty unless it was excluded; an unreadable frame has no
    `record`. `notes`: conversions on reading. `label_written`: whether its label file changed."""

    action: Action
    record: FrameRecord | None
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    label_written: bool = False


def remove_copies(stem: str, settings: CopySettings, *, keep_suffix: str | None = None) -> None:
    """Remove what earlier runs wrote for a frame: all of it, or only the copies in another image format."""
    stale = [path for suffix in SUFFIXES if suffix != keep_suffix for path in settings.copies(stem, suffix)]
    for path in stale if keep_suffix else [*stale, settings.label(stem), settings.crowd(stem)]:
        path.unlink(missing_ok=True)


def resized_pair(bgr: NDArray[np.uint8], lr_side: int, hr_side: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Resize a frame [H, W, 3] to LR [lr_side, lr_side, 3] (bilinear) and HR [hr_side, hr_side, 3] (bicubic).

    A plain resize, no letterbox, so normalised boxes stay as they are. Both come from the original frame.
    """
    lr_image = cv2.resize(bgr, (lr_side, lr_side), interpolation=cv2.INTER_LINEAR)
    hr_image = cv2.resize(bgr, (hr_side, hr_side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(lr_image, dtype=np.uint8), np.asarray(hr_image, dtype=np.uint8)


def process_frame(job: FrameJob, settings: CopySettings, previous: FrameRecord | None) -> FrameOutcome:
    """Score, judge and copy one frame. Raises OSError when a copy cannot be written; copies appear whole or not."""
    try:
        content = job.image_path.read_bytes()
    except OSError as error:
        return FrameOutcome("excluded", None, (Reason("unreadable", f"{job.image_path}: {error.strerror}"),))
    content_hash = hashlib.blake2b(content, digest_size=16).hexdigest()  # as images.file_hash
    record = previous if previous is not None and previous.content_hash == content_hash else None
    bgr = None
    if record is None:
        try:
            decoded = decode_bgr(content, job.image_path)
        except UnreadableImage as error:
            return FrameOutcome("excluded", None, (Reason("unreadable", str(error)),))
        bgr = decoded.bgr
        record = FrameRecord(job.stem, content_hash, score_frame(bgr, len(content)), notes=decoded.notes)
    if reasons := rejection_reasons(record.scores, settings.thresholds):
        return FrameOutcome("excluded", record, reasons, record.notes)
    if record.is_repeat:
        return FrameOutcome("undecided", record, (), record.notes)
    action: Action = "reused"
    crop = settings.crop(record.scores, job.annotation)
    if not _copies_stand(record, crop, settings):
        bgr = decode_bgr(content, job.image_path).bgr if bgr is None else bgr
        record, action = _write_copies(bgr, crop, record, settings), "written"
    return FrameOutcome(action, record, (), record.notes, _write_label(job, record.scores, crop, settings))


def _write_label(job: FrameJob, scores: FrameScores, crop: tuple[int, ...], settings: CopySettings) -> bool:
    """Write a frame's label file, or remove the one of a set that had labels before; says whether anything changed."""
    annotation = cropped_annotation(job.annotation, scores, crop)
    regions, label = settings.crowd(job.stem), settings.label(job.stem)
    unwanted = [path for path, wanted in ((regions, annotation.crowd is not None), (label, True))
                if path.exists() and not (wanted and settings.labelled)]  # fmt: skip
    for path in unwanted:
        path.unlink()
    if not settings.labelled:
        return bool(unwanted)
    changed = annotation.crowd is not None and write_labels(regions, annotation.crowd)
    return write_labels(label, annotation) or changed or bool(unwanted)


def cropped_annotation(annotation: Annotation, scores: FrameScores, crop: tuple[int, ...]) -> Annotation:
    """Return a frame's boxes over the part of it that `crop` shows; () is the whole frame."""
    if not crop:
        return annotation
    x1, y1, x2, y2 = crop
    size = (scores.width, scores.height)
    return annotation.with_boxes(lambda boxes: crop_cxcywhn(boxes, size, (x1, y1, x2, y2)))


def _copies_stand(record: FrameRecord, crop: tuple[int, ...], settings: CopySettings) -> bool:
    if (record.copies_key, record.crop_xyxy) != (settings.copies_key, crop):
        return False
    sizes = [path.stat().st_size if path.is_file() else -1 for path in settings.copies(record.stem)]
    return sizes == [record.lr_bytes, record.hr_bytes]


def _write_copies(
    bgr: NDArray[np.uint8], crop: tuple[int, ...], record: FrameRecord, settings: CopySettings
) -> FrameRecord:
    if crop:
        x1, y1, x2, y2 = crop
        bgr = bgr[y1:y2, x1:x2]
    paths = settings.copies(record.stem)
    for path, image in zip(paths, resized_pair(bgr, settings.lr_side, settings.hr_side), strict=True):
        write_image(path, image, settings.jpeg_quality)
    lr_bytes, hr_bytes = (path.stat().st_size for path in paths)
    return replace(record, copies_key=settings.copies_key, crop_xyxy=crop, lr_bytes=lr_bytes, hr_bytes=hr_bytes)


def run_jobs(
    jobs: Sequence[FrameJob], settings: CopySettings, previous: Mapping[str, FrameRecord], workers: int | None = None
) -> Generator[FrameOutcome]:
    """Yield the outcome of each job, in order, as it is ready; no frame is kept in memory.

    `workers` is the number of processes, by default one for each core this process may use; 1 works in this process.
    Raises ResumableError when a process dies.
    """
    workers = workers or available_cores()
    before = [previous.get(job.stem) for job in jobs]
    arguments = [jobs, [settings] * len(jobs), before]
    expected_work = sum(HASH_COST if r is not None and r.copies_key == settings.copies_key else 1 for r in before)
    if workers == 1 or expected_work < MIN_FRAMES_FOR_POOL:
        yield from map(process_frame, *arguments)
        return
    yield from map_in_processes(process_frame, *arguments, workers=workers)
