"""HyperKvasir's bounding-boxes.json: one object with an entry for each image of `images/`, keyed by its name.

An entry is {"height": H, "width": W, "bbox": [{"label": "polyp", "xmin": ..., "ymin": ..., "xmax": ..., "ymax": ...}]},
in pixels; corners are taken as edges. Kvasir-SEG's file, which its authors spell kavsir_bboxes.json, is the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_utils.errors import InputError
from data_utils.files import write_text
from data_utils.formats.labels import (
    CLASS_LIST,
    Findings,
    LabelledImage,
    check_boxes,
    class_id_of,
    frame_size,
    read_class_list,
    write_class_list,
)
from data_utils.formats.markup import (
    JsonLines,
    LazyPlaces,
    class_name,
    dump_rows,
    member,
    pixel,
    quoted,
    read_json,
    tidy,
    written_size,
)
from data_utils.formats.sources import Source
from data_utils.formats.spelling import NameIndex
from data_utils.imaging.header import ImageHeader
from data_utils.imaging.images import list_images
from data_utils.records import Annotation, cxcywhn_to_xyxy, xyxy_to_cxcywhn

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

FILE_NAMES = ("bounding-boxes.json", "kavsir_bboxes.json")
FOLDERS = ("", "segmented-images")  # of the file, below raw: the part of HyperKvasir with boxes, or all of it
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def claims(raw: Path) -> bool:
    """Whether a file of that name lies in the folder, or in HyperKvasir's segmented-images; never raises."""
    try:
        return _boxes_file(raw).is_file()
    except (OSError, InputError):
        return False


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Read the file and pair its entries with the images below `images/` beside it, sorted by path.

    Images without an entry have no label. An entry without its image, and two images of one name, are problems.
    """
    raw = Path(dataset.raw)
    path = _boxes_file(raw)
    entries, lines = _read_entries(path), JsonLines(path, depth=3)
    folder = path.parent / "images"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put the images that {path.name} describes there")
    sources = []
    owners: dict[str, Path] = {}
    names = NameIndex(entries)
    for image in list_images(folder):
        try:
            key = names.find(image.stem) or _key(image.stem)
        except ValueError as error:
            findings.problem(f"{image}: {error}")
            continue
        inner = image.relative_to(folder).as_posix()
        if key in owners and key in entries:
            findings.problem(f"{image}: shares its name, and so its entry in {path.name}, with {owners[key]}; "
                             "rename one")  # fmt: skip
        owners[key] = image
        known = _Entry(lines, *entries[key]) if key in entries else None
        sources.append(Source(image, known and path, image.relative_to(raw).as_posix(), inner, known))
    for key, (name, _) in entries.items():
        if key not in owners:
            findings.problem(f"{lines.where(name)}: no image {quoted(name)} below {folder}; add it or remove the entry")
    return sources


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Return the boxes of one frame; what is wrong with them goes into `findings`.

    With `header` None (a damaged image, to be found by the decode) the size written in the entry is used.
    """
    entry = source.entry
    assert isinstance(entry, _Entry)
    place = entry.lines.path
    size = frame_size(f"{place}: {quoted(entry.name)}", entry.size, header, dataset.labels_frame, findings)
    if min(size) <= 0:
        return Annotation.empty()
    boxes, class_ids, kept = [], [], []
    try:
        records = entry.records()
    except ValueError as error:
        findings.problem(f"{entry.lines.where(entry.name)}: {quoted(entry.name)}: {error}")
        return Annotation.empty()
    for index, record in enumerate(records):
        try:
            label, corners = _box(record)
            class_id = class_id_of(label, dataset.names)
        except ValueError as error:
            findings.problem(f"{entry.place(index)}: {error}")
            continue
        boxes.append(corners)
        class_ids.append(class_id)
        kept.append(index)
    places = LazyPlaces(len(kept), lambda i: entry.place(kept[i]))
    return check_boxes(xyxy_to_cxcywhn(np.array(boxes), *size), class_ids, places, dataset.bad_boxes, findings)


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the names in classes.txt, or, since entries have no order, the labels sorted."""
    if (raw / CLASS_LIST).is_file():
        return read_class_list(raw / CLASS_LIST)
    path = _boxes_file(raw)
    lines = JsonLines(path, depth=3)
    names = set()
    for name, value in _read_entries(path).values():
        entry = _Entry(lines, name, value)
        try:
            names |= {_box(record)[0] for record in entry.records()}
        except ValueError as error:
            raise InputError(f"{lines.where(name)}: {quoted(name)}: {error}") from None
    if not names:
        raise InputError(f"{path}: holds no box, so no class name; give --names")
    return tuple(sorted(names))


def write_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write bounding-boxes.json and classes.txt for images below folder/images; a frame without boxes has an entry.

    Raises InputError where two images share a name, whatever their folders: the file knows them by name alone.
    """
    entries: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for frame in frames:
        stem = frame.inner.rpartition("/")[2].rpartition(".")[0]
        if _key(stem) in owners:
            raise InputError(f"{frame.inner}: HyperKvasir's file knows images by name alone, and {owners[_key(stem)]} "
                             f"is called '{stem}' too; rename one or write another format")  # fmt: skip
        owners[_key(stem)] = frame.inner
        corners = cxcywhn_to_xyxy(frame.annotation.boxes_cxcywhn, frame.width, frame.height)
        entries[stem] = {
            "height": frame.height,
            "width": frame.width,
            "bbox": [
                {"label": names[class_id], **dict(zip(CORNERS, map(tidy, box), strict=True))}
                for class_id, box in zip(frame.annotation.class_ids.tolist(), corners.tolist(), strict=True)
            ],
        }
    path = folder / FILE_NAMES[0]
    listed = write_class_list(folder / CLASS_LIST, names)  # first: it refuses names
    write_text(path, dump_rows(entries))
    return [path, listed]


@dataclass(frozen=True)
class _Entry:
    """One image's entry, unchecked, and where it stands."""

    lines: JsonLines
    name: str
    value: Any

    @property
    def size(self) -> tuple[int, int]:
        return written_size(self.value) if isinstance(self.value, dict) else (0, 0)

    def records(self) -> list[Any]:
        """Return the list of boxes; raises ValueError if there is none."""
        if not isinstance(self.value, dict):
            raise ValueError(f"expected an object with height, width and bbox, found {quoted(self.value)}")
        return member(self.value, "bbox", list)

    def place(self, index: int) -> str:
        """Spell where box number `index` stands."""
        return f"{self.lines.where(self.name, 'bbox', index)}: box {index + 1} of {quoted(self.name)}"


def _boxes_file(raw: Path) -> Path:
    for folder in FOLDERS:
        for name in FILE_NAMES:
            if (raw / folder / name).is_file():
                return raw / folder / name
    raise InputError(f"{raw}: no {FILE_NAMES[0]} there or in {FOLDERS[1]}; put HyperKvasir's segmented-images there")


def _read_entries(path: Path) -> dict[str, tuple[str, Any]]:
    """Return {name in composed letters: (name as written, entry)}."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object with an entry for each image; export it again")
    entries = {_key(name): (name, entry) for name, entry in value.items()}
    if len(entries) < len(value):
        raise InputError(f"{path}: two names differ only in how their letters are composed; rename one image")
    return entries


def _key(stem: str) -> str:
    return unicodedata.normalize("NFC", stem)


def _box(record: Any) -> tuple[str, list[float]]:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object with label and corners, found {quoted(record)}")
    return class_name(record, "label"), [pixel(record.get(key), key) for key in CORNERS]
