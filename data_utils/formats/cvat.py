"""CVAT's own XML, "for images 1.1" and "for video 1.1": one file describes many frames, shapes in pixels.

All CVAT files of a raw folder are read together; they must agree on their labels. An <image> is sought by its name, a
video's frame by the number that ends its name (frame_000012.png). Where a track skips frames, its box moves in a
straight line from one written frame to the next; it is not drawn on past its last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from data_utils.atomic import write_text
from data_utils.boxes import xyxy_to_cxcywhn
from data_utils.errors import InputError
from data_utils.formats.cvat_file import ROOT, CvatBox, CvatFile, CvatImage, read_cvat_file
from data_utils.formats.labelled_image import LabelledImage
from data_utils.formats.labels import Findings, check_boxes, class_id_of, frame_size
from data_utils.formats.listed_images import ListedImages
from data_utils.formats.sources import Source
from data_utils.formats.xml_text import open_tag, pixel_corners, root_tag, text_tag
from data_utils.imaging.image_header import ImageHeader
from data_utils.imaging.images import IMAGE_SUFFIXES
from data_utils.types import Annotation
from data_utils.visible_files import visible_files

if TYPE_CHECKING:
    from data_utils.dataset_section import DatasetSection

WRITTEN = "annotations.xml"
EDGES = ("xtl", "ytl", "xbr", "ybr")

_NUMBER = re.compile(r"(\d{1,9})$")


@dataclass(frozen=True)
class _Entry:
    """What a file says of one frame. size: (width, height) in pixels as written."""

    path: Path
    line: int
    size: tuple[int, int]
    boxes: list[CvatBox]


def claims(raw: Path) -> bool:
    """Whether an .xml file below `raw` begins as CVAT's do; never raises."""
    return any(root_tag(path) == ROOT for path in _xml_files(raw))


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Read all CVAT files and pair their frames with the images below `raw`, sorted by path.

    An image is sought at its name below images/ and images/<subset>/, beside the file and in raw itself, then by its
    base name, if that is unique; never outside raw. One that is not there is a problem with file and line. Images that
    no file describes have no label. Raises InputError for a file that cannot be read.
    """
    raw = Path(dataset.raw)
    images = ListedImages(raw)
    entries: dict[Path, _Entry] = {}
    for file in _read_all(raw, findings):
        _list_images(file, images, entries, findings)
        if file.tracks or (file.is_video and not file.images):
            _list_video(file, images, entries, findings)
    return [images.source(path, each.path if (each := entries.get(path)) else None, each) for path in images.paths]


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Return the boxes of one frame; what is wrong with them goes into `findings`.

    With `header` None (a damaged image, to be found by the decode) the size written in the file is used.
    """
    entry = source.entry
    assert isinstance(entry, _Entry)
    size = frame_size(f"{entry.path}:{entry.line}", entry.size, header, dataset.labels_frame, findings)
    if min(size) <= 0:
        return Annotation.empty()
    corners, class_ids, places = [], [], []
    for box in entry.boxes:
        place = f"{entry.path}:{box.line}"
        try:
            class_id = class_id_of(box.label, dataset.names)
        except ValueError as error:
            findings.problem(f"{place}: {error}")
            continue
        corners.append(box.corners)
        class_ids.append(class_id)
        places.append(place)
    return check_boxes(xyxy_to_cxcywhn(np.array(corners), *size), class_ids, places, dataset.bad_boxes, findings)


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the labels in the order of the task; without a task, those of the shapes, sorted.

    Raises InputError where a file cannot be read, where two disagree, and where there is none.
    """
    labels = next((file.labels for file in list(_read_all(raw, Findings()))), ())
    if not labels:
        raise InputError(f"{raw}: its CVAT files name no labels; give --names")
    return labels


def write_set(folder: Path, names: Sequence[str], frames: Iterable[LabelledImage]) -> list[Path]:
    """Write `folder/annotations.xml` "for images 1.1"; the images belong at `folder/images/<inner>`.

    Raises InputError for a name that XML cannot hold.
    """
    lines = ['<?xml version="1.0" encoding="utf-8"?>', f"<{ROOT}>", "  <version>1.1</version>"]
    lines += ["  <meta>", "    <task>", "      <mode>annotation</mode>", "      <labels>"]
    lines += [f"        <label>{text_tag('name', name)}<type>rectangle</type></label>" for name in names]
    lines += ["      </labels>", "    </task>", "  </meta>"]
    for number, frame in enumerate(frames):
        attributes = (("id", number), ("name", frame.inner), ("width", frame.width), ("height", frame.height))
        lines.append(f"  {open_tag('image', attributes)}>")
        for class_id, corners in zip(frame.annotation.class_ids.tolist(), pixel_corners(frame), strict=True):
            edges = zip(EDGES, corners, strict=True)
            label = [("label", names[class_id]), ("source", "manual"), ("occluded", 0)]
            lines.append(f"    {open_tag('box', [*label, *edges, ('z_order', 0)])}></box>")
        lines.append("  </image>")
    path = folder / WRITTEN
    write_text(path, "\n".join([*lines, f"</{ROOT}>", ""]))
    return [path]


def _xml_files(raw: Path) -> list[Path]:
    return visible_files(raw, {".xml"})


def _read_all(raw: Path, findings: Findings) -> Iterable[CvatFile]:
    """Read one CVAT file after the other; raises InputError for none, and where two disagree on the labels."""
    paths = [path for path in _xml_files(raw) if path.name == WRITTEN or root_tag(path) in (ROOT, "")]  # "": damaged
    if not paths:
        raise InputError(f"{raw}: no CVAT file there; put {WRITTEN} into it, and the images into {raw / 'images'}")
    first: CvatFile | None = None
    for path in paths:
        file = read_cvat_file(path, findings)
        first = first or file
        if set(file.labels) != set(first.labels):
            raise InputError(f"{path}: labels {list(file.labels)}, but {first.path} has {list(first.labels)}; make "
                             "them equal, or read one folder at a time")  # fmt: skip
        yield file


def _list_images(file: CvatFile, images: ListedImages, entries: dict[Path, _Entry], findings: Findings) -> None:
    home = file.path.parent.relative_to(images.raw).as_posix()
    suffixes = sorted({path.suffix for path in images.paths})
    for image in file.images:
        places = [f"{home}/images", home, "images", "."]
        if image.subset:
            places = [f"{place}/{image.subset}" for place in places] + places
        try:
            path = _find(image, places, suffixes, images, findings)
            _add(path, _Entry(file.path, image.line, image.size, image.boxes), entries)
        except ValueError as error:
            findings.problem(f"{file.path}:{image.line}: {error}")


def _find(
    image: CvatImage, places: Sequence[str], suffixes: Sequence[str], images: ListedImages, findings: Findings
) -> Path:
    """Find the image of an <image>; a video's frames are named without a suffix there."""
    if PurePosixPath(image.name).suffix.lower() in IMAGE_SUFFIXES or not image.name:
        return images.find(image.name, places, findings)
    for suffix in suffixes:
        try:
            return images.find(image.name + suffix, places, findings)
        except ValueError:
            continue
    raise ValueError(f"no image '{image.name}' with any suffix below {images.raw}; put it into {images.raw / 'images'}")


def _list_video(file: CvatFile, images: ListedImages, entries: dict[Path, _Entry], findings: Findings) -> None:
    numbered = _numbered(file, images, findings)
    boxes: dict[int, list[CvatBox]] = {number: [] for number in numbered}
    n_absent = 0
    in_order = sorted(numbered)
    for track in file.tracks:
        for tracked in track.boxes:
            if tracked.outside:
                continue
            if tracked.frame in boxes:
                boxes[tracked.frame].append(CvatBox(track.label, tracked.corners, tracked.line))
            else:
                n_absent += 1
        for number, box in track.between(in_order):
            boxes[number].append(box)
            findings.counts["boxes interpolated between frames of a track"] += 1
    if not numbered:
        findings.problem(f"{file.path}: no frame of its video below {images.raw}; put them into "
                         f"{file.path.parent / 'images'} as frame_000000.png, frame_000001.png, ...")  # fmt: skip
    elif n_absent:
        findings.counts["boxes of a video's frames without an image"] += n_absent
        findings.note(f"{file.path}: {n_absent} boxes are of frames that have no image")
    for number, path in numbered.items():
        # Within what the task covers, a frame without a box is healthy.
        if boxes[number] or file.first_frame <= number <= file.last_frame:
            try:
                _add(path, _Entry(file.path, 1, file.video_size, boxes[number]), entries)
            except ValueError as error:
                findings.problem(f"{file.path}: {error}")


def _numbered(file: CvatFile, images: ListedImages, findings: Findings) -> dict[int, Path]:
    """Return the images of a video by frame number: those below the first folder, nearest first, that has any."""
    home = file.path.parent
    for folder in (home / "images", home, images.raw / "images", images.raw):
        found: dict[int, Path] = {}
        for path in images.paths:
            match = _NUMBER.search(path.stem) if folder in path.parents else None
            if match is None:
                continue
            if int(match[1]) in found:
                findings.problem(f"{path}: ends in the frame number of {found[int(match[1])]}; keep the videos of "
                                 "several tasks in folders of their own, each beside its XML")  # fmt: skip
            found[int(match[1])] = path
        if found:
            return found
    return {}


def _add(path: Path, entry: _Entry, entries: dict[Path, _Entry]) -> None:
    if path in entries:
        other = entries[path]
        raise ValueError(f"{path} is described at {other.path}:{other.line} already; remove one")
    entries[path] = entry
