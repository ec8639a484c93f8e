"""Read a raw data set, whatever its format, into frames. Labels are read whole, images by their header alone."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_utils.errors import InputError
from data_utils.files import visible_files
from data_utils.formats import coco, cvat, hyperkvasir, labelmap, labelme, voc, yolo
from data_utils.formats.identity import Identity, IdentityFinder
from data_utils.formats.labels import Findings, LabelledImage, orient_boxes, read_label_bytes
from data_utils.formats.markup import parse_xml, read_json
from data_utils.formats.sources import Source, name_frames, pair_with_labels
from data_utils.formats.spelling import folded_name
from data_utils.imaging.header import ImageHeader, UnreadableImage, read_header
from data_utils.imaging.images import IMAGE_SUFFIXES, list_images, list_other_pictures
from data_utils.records import Annotation, Frame

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

# Label files that no reader took: damaged ones must not turn lesion frames into healthy ones without a word.


STRUCTURED = (".json", ".xml", ".zip")  # what annotation tools export a whole set as
PER_IMAGE = (".txt", ".json", ".xml")
# Of these a label file has one or more; a file of another purpose hardly any.
LABEL_KEYS = {"images", "annotations", "categories", "shapes", "bbox", "imagePath"}


def check_leftovers(raw: Path, sources: Sequence[Source], findings: Findings) -> None:
    """Record a problem for each file below `raw` that looks like labels but was read by nobody.

    Those are: a file with the name of an image that has no label; JSON and XML that cannot be parsed; JSON with some
    keys of a known format; and, where no image has a label at all, any JSON, XML or zip. Hidden files do not count.
    """
    used = {source.label for source in sources}
    bare = {folded_name(source.image.stem): source.image for source in sources if source.label is None}
    if not bare:
        return
    for path in visible_files(raw, {*STRUCTURED, *PER_IMAGE}):
        suffix = path.suffix.lower()
        if path in used:
            continue
        twin = bare.get(folded_name(path.stem))
        if twin is not None and suffix in PER_IMAGE:
            findings.problem(f"{path}: has the name of {twin}, but was not read as its label; mend it, or put it where "
                             "labels are sought (see data/README.md)")  # fmt: skip
        elif suffix in STRUCTURED and (reason := _why_labels(path, nothing_read=len(bare) == len(sources))):
            findings.problem(reason)


def _why_labels(path: Path, nothing_read: bool) -> str | None:
    """Say why an unread file is taken for labels, or None for one that is something else."""
    try:
        if path.suffix.lower() == ".json":
            keys = LABEL_KEYS & set(record) if isinstance(record := read_json(path), dict) else set()
            if keys:
                return f"{path}: has {sorted(keys)}, yet is no whole label file of a known format; export it again"
        elif path.suffix.lower() == ".xml":
            parse_xml(path, read_label_bytes(path))
    except InputError as error:
        return str(error)
    if not nothing_read:
        return None
    if path.suffix.lower() == ".zip":
        return f"{path}: a zip beside frames without labels; unpack it, or set dataset.raw to it"
    return f"{path}: the only thing like labels here, but of no known format; export it again, or move it away"


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
    """One raw format: how images find their labels, and how one label becomes boxes in the frame it was drawn on.

    class_names: the names a raw folder itself gives its classes, in the order of their ids; for `convert`, which has no
    config. It raises InputError where the folder cannot say. claims: whether a folder holds labels of this format, for
    `auto`. write_set: (folder, names, frames) -> the label files written; the way back.
    """

    find_sources: Callable[[DatasetSection, Findings], list[Source]]
    read_source: Callable[[Source, ImageHeader | None, DatasetSection, Findings], Annotation]
    class_names: Callable[[Path], tuple[str, ...]]
    needs_size: bool  # boxes are written in pixels
    label: str  # what is sought, for messages
    claims: Callable[[Path], bool]
    write_set: Callable[[Path, Sequence[str], Sequence[LabelledImage]], list[Path]]


READERS = {
    "yolo": Reader(yolo.find_sources, yolo.read_source, yolo.class_names, False,
                   ".txt below labels/ or beside it", yolo.claims, yolo.write_set),
    "voc": Reader(voc.find_sources, voc.read_source, voc.class_names, True,
                  ".xml below Annotations/ or beside it", voc.claims, voc.write_set),
    "coco": Reader(coco.find_sources, coco.read_source, coco.class_names, True,
                   "its entry under images in a COCO .json", coco.claims, coco.write_set),
    "cvat": Reader(cvat.find_sources, cvat.read_source, cvat.class_names, True,
                   "its <image> in a CVAT .xml, or its video's", cvat.claims, cvat.write_set),
    "labelme": Reader(labelme.find_sources, labelme.read_source, labelme.class_names, True,
                      ".json beside it or below labels/", labelme.claims, labelme.write_set),
    "hyperkvasir": Reader(hyperkvasir.find_sources, hyperkvasir.read_source, hyperkvasir.class_names, True,
                          "its entry in bounding-boxes.json", hyperkvasir.claims, hyperkvasir.write_set),
    "labelmap": Reader(labelmap.find_sources, labelmap.read_source, labelmap.class_names, True,
                       ".png of the same path below dataset.labelmap.masks", labelmap.claims, labelmap.write_set),
    "mask": Reader(labelmap.find_sources, labelmap.read_source, labelmap.class_names, True,
                   "mask of the same path below dataset.labelmap.masks", labelmap.claims, labelmap.write_mask_set),
}  # fmt: skip
MASKS = ("labelmap", "mask")  # never found by `auto`: what the pixels mean must be said


def read_raw_set(dataset: DatasetSection) -> RawSet:
    """Read the raw set below `dataset.raw`.

    A frame whose header is damaged stays in the list with its labels, so that the decode finds and quarantines it.
    Raises InputError, in one line, for a folder that is missing or empty, for unknown patients, and for bad labels (the
    first problems with file and line, and their number).
    """
    raw = Path(dataset.raw)
    if not raw.is_dir():
        raise InputError(f"{raw}: no such folder; {_ways_on(raw)}")
    try:
        return _read_raw_set(dataset, raw)
    except InputError as error:
        raise InputError(f"{error}{_other_format(dataset, raw)}") from None


def _other_format(dataset: DatasetSection, raw: Path) -> str:
    """Say, where a format was set and nothing of it lies in `raw`, that it may come from a base, and the way back."""
    name = dataset.format
    with contextlib.suppress(InputError):
        if name != "auto" and dataset.labelled and not READERS[name].claims(raw) and list_images(raw):
            return (f"; dataset.format = {name} is set in the config or inherited from its base, and {raw} holds no "
                    "such labels: set dataset.format: auto")  # fmt: skip
    return ""


def _read_raw_set(dataset: DatasetSection, raw: Path) -> RawSet:
    reader, sources, findings = _find_sources(dataset, raw)
    if not sources:
        findings.raise_problems()
        raise InputError(f"{raw}: {no_images(raw)}; {_ways_on(raw)}")
    if dataset.labelled:
        check_leftovers(raw, sources, findings)
    if others := list_other_pictures(raw):
        findings.counts["pictures of a kind that is not read"] += len(others)
        findings.note(f"{len(others)} pictures are of a kind that is not read, first {others[0]}; save them as PNG")
    finder = IdentityFinder(dataset, findings)
    stems = name_frames(sources, findings)
    frames = []
    for source, stem in zip(sources, stems, strict=True):
        annotation = _read_annotation(source, reader, dataset, findings)
        identity = finder.identify(source, stem)
        if annotation is not None and identity is not None:
            if dataset.labelled:
                _compare_with_metadata(source, annotation, identity, findings)
            frames.append(Frame(source.image, annotation, identity.patient_id, identity.group, identity.source,
                                identity.modality, stem, identity.sequence))  # fmt: skip
    findings.raise_problems()
    finder.report_unused()
    if not dataset.labelled:
        findings.note("dataset.labelled = false: no label was read, so every frame counts as one without a box")
    elif not any(len(frame.annotation) for frame in frames):
        findings.note(f"{raw}: not one of {len(frames)} frames has a box")
    return RawSet(frames, _summary(frames, findings), tuple(findings.notes))


def detect_format(raw: Path) -> str:
    """Return the format of the labels below `raw`, "yolo" where there are none.

    Raises InputError where there are several formats, and for masks, whose meaning must be set.
    """
    found = [name for name, reader in READERS.items() if name not in MASKS and reader.claims(raw)]
    if len(found) > 1:
        raise InputError(f"{raw}: holds labels in {len(found)} formats: {', '.join(found)}; set dataset.format to "
                         "one of them")  # fmt: skip
    if not found and labelmap.claims(raw):
        raise InputError(f"{raw}: holds masks; set dataset.labelmap.values, for example {{4: lesion}}, or, where they "
                         "are black and white, dataset.format = mask")  # fmt: skip
    return found[0] if found else "yolo"


def no_images(raw: Path) -> str:
    """Say that `raw` holds no images, and what it holds instead."""
    others = list_other_pictures(raw)
    hint = f", only pictures of a kind that is not read: {others[0]}; save them as PNG" if others else ""
    if embedded := labelme.pictures_inside(raw):
        hint += f": {labelme.tell_pictures_inside(embedded)}"
    return f"no images there ({' '.join(sorted(IMAGE_SUFFIXES))}){hint}"


def _find_sources(dataset: DatasetSection, raw: Path) -> tuple[Reader, list[Source], Findings]:
    """Pair images with labels in the data set's format; under `auto`, in the one that claims the folder.

    With `dataset.labelled` false, every image is a frame and no label is sought.
    """
    name = dataset.format
    if not dataset.labelled:
        sources = pair_with_labels(raw, yolo.IMAGE_FOLDERS, yolo.LABEL_FOLDERS, ".txt", Findings())
        return READERS["yolo"], [replace(source, label=None) for source in sources], Findings()
    if name == "auto":
        name = "labelmap" if dataset.labelmap.values else detect_format(raw)
    if name == "labelmap" and not dataset.labelmap.values:
        raise InputError("dataset.labelmap.values is empty: list mask value: class name, for example {4: lesion}")
    findings = Findings()
    return READERS[name], READERS[name].find_sources(dataset, findings), findings


def _ways_on(raw: Path) -> str:
    return f"put your frames and labels into {raw} (see data/README.md), or try the synthetic set with `make demo`"


def _read_annotation(
    source: Source, reader: Reader, dataset: DatasetSection, findings: Findings
) -> Annotation | None:
    if not dataset.labelled:
        return Annotation.empty()
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
    return annotation.with_boxes(lambda boxes: orient_boxes(boxes, header.orientation))


def _header_or_none(source: Source, findings: Findings) -> ImageHeader | None:
    try:
        return read_header(source.image)
    except UnreadableImage:
        findings.counts["frames with a damaged header, left to the decode"] += 1
        return None


def _compare_with_metadata(source: Source, annotation: Annotation, identity: Identity, findings: Findings) -> None:
    expected = LESION_ANSWERS.get(identity.has_lesion.casefold())
    if expected is None or expected != annotation.is_healthy:
        return
    if not findings.counts["frames whose has_lesion disagrees with their labels"]:
        findings.note(f"{source.image}: has_lesion in the metadata says {expected}, its label file holds "
                      f"{len(annotation)} boxes; the labels count")  # fmt: skip
    findings.counts["frames whose has_lesion disagrees with their labels"] += 1


def _summary(frames: list[Frame], findings: Findings) -> Counter[str]:
    counts = Counter({key: count for key, count in findings.counts.items() if count})
    counts["frames"] = len(frames)
    counts["boxes"] = sum(len(frame.annotation) for frame in frames)
    counts["negative frames"] = sum(frame.annotation.is_healthy for frame in frames)
    return counts
