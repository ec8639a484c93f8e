"""Read a raw data set, whatever its format, into frames. Labels are read whole, images by their header alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_utils.errors import InputError
from data_utils.formats import labelmap, voc, yolo
from data_utils.formats.identity import Identity, IdentityFinder
from data_utils.formats.labels import Findings, orient_boxes
from data_utils.formats.sources import Source, name_frames
from data_utils.image_header import ImageHeader, UnreadableImage, read_header
from data_utils.types import Annotation, Frame

if TYPE_CHECKING:
    from data_utils.config_sections import DatasetSection

_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
LESION_ANSWERS = {**dict.fromkeys(_YES, True), **dict.fromkeys(_NO, False)}


@dataclass(frozen=True, eq=False)
class RawSet:
    """A raw data set as read.

    frames: sorted by path, boxes over the displayed frame, stems distinct. counts: how many frames, boxes, negative
    frames, and how often each harmless oddity was met. notes: sentences for the user about some of them.
    """

    frames: list[Frame]
    counts: Counter[str]
    notes: tuple[str, ...] = ()


class Reader(NamedTuple):
    """One raw format: how images find their labels, and how one label becomes boxes in the frame it was drawn on."""

    find_sources: Callable[[DatasetSection, Findings], list[Source]]
    read_source: Callable[[Source, ImageHeader | None, DatasetSection, Findings], Annotation]
    needs_size: bool  # boxes are written in pixels
    label: str  # what is sought, for messages


READERS = {
    "yolo": Reader(yolo.find_sources, yolo.read_source, False, ".txt below labels/ or beside it"),
    "voc": Reader(voc.find_sources, voc.read_source, True, ".xml below Annotations/ or beside it"),
    "labelmap": Reader(
        labelmap.find_sources, labelmap.read_source, True, ".png of the same path below dataset.labelmap.masks"
    ),
}


def read_raw_set(dataset: DatasetSection) -> RawSet:
    """Read the raw set below `dataset.raw`.

    A frame whose header is damaged stays in the list with its labels, so that the decode finds and quarantines it.
    Raises InputError, in one line, for a folder that is missing or empty, for unknown patients, and for bad labels (the
    first problems with file and line, and their number).
    """
    raw = Path(dataset.raw)
    if not raw.is_dir():
        raise InputError(f"{raw}: no such folder; {_ways_on(raw)}")
    reader, sources, findings = _find_sources(dataset, raw)
    if not sources:
        raise InputError(f"{raw}: no images there; {_ways_on(raw)}")
    finder = IdentityFinder(dataset, findings)
    stems = name_frames(sources, findings)
    frames = []
    for source, stem in zip(sources, stems, strict=True):
        annotation = _read_annotation(source, reader, dataset, findings)
        identity = finder.identify(source, stem)
        if annotation is not None and identity is not None:
            _compare_with_metadata(source, annotation, identity, findings)
            frames.append(Frame(source.image, annotation, identity.patient_id, identity.group, identity.source,
                                identity.modality, stem))  # fmt: skip
    findings.raise_problems()
    finder.report_unused()
    if not any(len(frame.annotation) for frame in frames):
        findings.note(f"{raw}: not one of {len(frames)} frames has a box")
    return RawSet(frames, _summary(frames, findings), tuple(findings.notes))


def _find_sources(dataset: DatasetSection, raw: Path) -> tuple[Reader, list[Source], Findings]:
    """Pair images with labels in the data set's format; under `auto`, in the one that finds any label."""
    if dataset.format == "labelmap" and not dataset.labelmap.values:
        raise InputError("dataset.labelmap.values is empty: list mask value: class name, for example {4: lesion}")
    if dataset.format != "auto":
        names = [dataset.format]
    else:
        names = ["labelmap"] if dataset.labelmap.values else ["yolo", "voc"]
    found = []
    for name in names:
        findings = Findings()
        found.append((READERS[name], READERS[name].find_sources(dataset, findings), findings))
    labelled = [each for each in found if any(source.label for source in each[1])]
    if len(labelled) > 1:
        raise InputError(f"{raw}: holds both YOLO (.txt) and VOC (.xml) labels; set dataset.format to yolo or voc")
    return labelled[0] if labelled else found[0]


def _ways_on(raw: Path) -> str:
    return f"put your frames and labels into {raw} (see data/README.md), or try the synthetic set with `make demo`"


def _read_annotation(
    source: Source, reader: Reader, dataset: DatasetSection, findings: Findings
) -> Annotation | None:
    if source.label is None:
        if not dataset.allow_background:
            findings.problem(f"{source.image}: no label file ({reader.label}); add one (empty for a healthy frame) "
                             "or set dataset.allow_background = true")  # fmt: skip
            return None
        findings.counts["frames without a label file, taken as healthy"] += 1
        return Annotation.empty()
    turned = dataset.labels_frame == "stored"
    header = _header_or_none(source, findings) if reader.needs_size or turned else None
    try:
        annotation = reader.read_source(source, header, dataset, findings)
    except InputError as error:
        findings.problem(str(error))
        return None
    if not turned or header is None or header.orientation == 1:
        return annotation
    findings.counts["frames whose boxes were turned with their EXIF rotation"] += 1
    return Annotation(orient_boxes(annotation.boxes_cxcywhn, header.orientation), annotation.class_ids)


def _header_or_none(source: Source, findings: Findings) -> ImageHeader | None:
    try:
        return read_header(source.image)
    except UnreadableImage:
        findings.counts["frames with a damaged header, left to the decode"] += 1
        return None


def _compare_with_metadata(source: Source, annotation: Annotation, identity: Identity, findings: Findings) -> None:
    expected = LESION_ANSWERS.get(identity.has_lesion.casefold())
    if expected is None or expected == (len(annotation) > 0):
        return
    if not findings.counts["frames whose has_lesion disagrees with their labels"]:
        findings.note(f"{source.image}: has_lesion in the metadata says {expected}, its label file holds "
                      f"{len(annotation)} boxes; the labels count")  # fmt: skip
    findings.counts["frames whose has_lesion disagrees with their labels"] += 1


def _summary(frames: list[Frame], findings: Findings) -> Counter[str]:
    counts = Counter({key: count for key, count in findings.counts.items() if count})
    counts["frames"] = len(frames)
    counts["boxes"] = sum(len(frame.annotation) for frame in frames)
    counts["negative frames"] = sum(len(frame.annotation) == 0 for frame in frames)
    return counts
