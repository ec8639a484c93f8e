"""COCO JSON: files that list images, boxes and categories; x, y, width, height in pixels.

All files of a raw folder are read together: those in the folder itself, and in the folders one level below
(annotations/instances_train.json, Roboflow's train/_annotations.coco.json). Their categories must be the same, whatever
the ids; a category stands for the class of the same name. An annotation without a box gets the extent of its polygons.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_utils.errors import InputError
from data_utils.files import is_hidden, write_text
from data_utils.formats.labels import OUTLINED, Findings, LabelledImage, check_boxes, class_id_of, frame_size
from data_utils.formats.markup import (
    LARGEST_PIXEL,
    JsonLines,
    LazyPlaces,
    class_name,
    dump_rows,
    member,
    mentions,
    pixel,
    quoted,
    read_json,
    tidy,
    written_size,
)
from data_utils.formats.sources import ListedImages, Source
from data_utils.imaging.header import ImageHeader
from data_utils.records import Annotation, cxcywhn_to_xyxy, xyxy_to_cxcywhn

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

LISTS = ("images", "annotations", "categories")
WRITTEN = "annotations/instances.json"
RETYPED = 'ids that are text in one place and a number in the other ("1", 1), taken as equal'
LARGEST_LOOKED_AT = 16  # files; a COCO file is large, and a folder may hold thousands of other .json files

Id = int | str


def claims(raw: Path) -> bool:
    """Whether one of the largest .json files has COCO's lists; never raises."""
    try:
        by_size = sorted(_json_files(raw), key=lambda path: -path.stat().st_size)
    except OSError:
        return False
    return any(mentions(path, LISTS[:2]) for path in by_size[:LARGEST_LOOKED_AT])


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Read all COCO files and pair their images with the files below `raw`, sorted by path.

    An image is sought at its file_name below the folder of its list, below raw, raw/images and the folder of its split,
    then by its base name, if that is unique. Images that no file lists have no label. Raises InputError for a file that
    cannot be read; what is wrong with single images and annotations goes into `findings`.
    """
    raw = Path(dataset.raw)
    images = ListedImages(raw)
    entries: dict[Path, _Entry] = {}
    for listed in _read_all(raw, findings):
        _share_annotations(listed, _list_images(listed, images, entries, findings), findings)
    shown = raw / "images" if (raw / "images").is_dir() else raw
    return [
        images.source(path, entries[path].lines.path if path in entries else None, entries.get(path))
        for path in images.paths
        if path in entries or shown in path.parents
    ]


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Return the boxes of one frame; what is wrong with them goes into `findings`.

    With `header` None (a damaged image, to be found by the decode) the size written in the list is used.
    """
    entry = source.entry
    assert isinstance(entry, _Entry)
    place = entry.lines.where("images", entry.index) if header and entry.size != header.displayed_size else ""
    size = frame_size(place, entry.size, header, dataset.labels_frame, findings)
    if min(size) <= 0:
        return Annotation.empty()
    boxes, class_ids, records = [], [], []
    crowd: list[tuple[list[float], int, tuple[int, dict[str, Any]]]] = []
    for index, record in entry.annotations:
        is_crowd = record.get("iscrowd") in (1, "1", True)
        apart = is_crowd and dataset.crowd == "leave_out"
        findings.counts["crowds (iscrowd) taken as one box"] += is_crowd and not apart
        try:
            class_id = class_id_of(_category(record, entry.categories, findings), dataset.names)
            if apart:
                crowd.append((_crowd_corners(record, size), class_id, (index, record)))
                continue
            box = _corners(record)
            findings.counts[OUTLINED] += not record.get("bbox")
        except _MaskOnly as error:
            if dataset.bad_boxes == "drop":
                findings.counts["boxes dropped: run-length mask without a bbox"] += 1
            else:
                findings.problem(f"{entry.place(index, record)}: {error}; add its bbox or set dataset.bad_boxes = drop")
            continue
        except ValueError as error:
            findings.problem(f"{entry.place(index, record)}: {error}")
            continue
        boxes.append(box)
        class_ids.append(class_id)
        records.append((index, record))
    findings.counts["frames left without a box"] += bool(entry.annotations) and not boxes and not crowd
    places = LazyPlaces(len(records), lambda i: entry.place(*records[i]))
    found = check_boxes(xyxy_to_cxcywhn(np.array(boxes), *size), class_ids, places, dataset.bad_boxes, findings)
    if not crowd:
        return found
    findings.counts["crowds (iscrowd), where nothing is learnt or counted"] += len(crowd)
    corners, ids, theirs = zip(*crowd, strict=True)
    places = LazyPlaces(len(theirs), lambda i: entry.place(*theirs[i]))
    regions = check_boxes(xyxy_to_cxcywhn(np.array(corners), *size), ids, places, dataset.bad_boxes, findings)
    return Annotation(found.boxes_cxcywhn, found.class_ids, regions)


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the categories in the order of their ids; Roboflow's root category, which holds no box, is none.

    Raises InputError where a file cannot be read, or two files disagree.
    """
    names: tuple[str, ...] = ()
    used: set[str | None] = set()
    root: str | None = None
    for listed in _read_all(raw, Findings()):
        names, root = listed.names, listed.root
        ids = (each.get("category_id") for each in listed.annotations if isinstance(each, dict))
        known = {_listed_id(each, listed.categories) for each in ids if isinstance(each, int | str)}
        used |= {listed.categories[each] for each in known if each is not None}
    names = tuple(name for name in names if name != root or name in used)
    if not names:
        raise InputError(f"{raw}: its COCO files list no categories; give --names")
    return names


def write_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write annotations/instances.json for images below folder/images; a frame without boxes is listed all the same.

    Category ids count from 1, in the order of `names`.
    """
    images, annotations = [], []
    for image_id, frame in enumerate(frames, start=1):
        images.append({"id": image_id, "file_name": frame.inner, "width": frame.width, "height": frame.height})
        corners = cxcywhn_to_xyxy(frame.annotation.boxes_cxcywhn, frame.width, frame.height)
        shapes = [(*pair, 0) for pair in zip(frame.annotation.class_ids.tolist(), corners.tolist(), strict=True)]
        if (crowd := frame.annotation.crowd) is not None:
            regions = cxcywhn_to_xyxy(crowd.boxes_cxcywhn, frame.width, frame.height).tolist()
            shapes += [(*pair, 1) for pair in zip(crowd.class_ids.tolist(), regions, strict=True)]
        for class_id, (x1, y1, x2, y2), is_crowd in shapes:
            annotations.append({
                "id": len(annotations) + 1, "image_id": image_id, "category_id": class_id + 1,
                "bbox": [tidy(x1), tidy(y1), tidy(x2 - x1), tidy(y2 - y1)], "area": tidy((x2 - x1) * (y2 - y1)),
                "iscrowd": is_crowd, "segmentation": [],
            })  # fmt: skip
    categories = [{"id": index, "name": name} for index, name in enumerate(names, start=1)]
    path = folder / WRITTEN
    write_text(path, dump_rows({"images": images, "annotations": annotations, "categories": categories}))
    return [path]


class _MaskOnly(ValueError):
    """An annotation whose only shape is a run-length mask."""


@dataclass(frozen=True)
class _Listed:
    """One COCO file as read. root: the category that only groups the others, as Roboflow writes it."""

    lines: JsonLines
    images: list[Any]
    annotations: list[Any]
    categories: dict[Id, str]
    root: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Distinct category names in the order of their ids."""
        ordered = sorted(self.categories.items(), key=lambda item: (isinstance(item[0], str), item[0]))
        return tuple(dict.fromkeys(name for _, name in ordered))


@dataclass(frozen=True)
class _Entry:
    """One listed image: its place in the list, and its annotations with theirs. size: as written, (0, 0) if absent."""

    lines: JsonLines
    index: int
    name: str
    size: tuple[int, int]
    categories: dict[Id, str]
    annotations: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def place(self, index: int, record: dict[str, Any]) -> str:
        """Spell where annotation number `index` stands."""
        where = self.lines.where("annotations", index)
        return f"{where}: annotation id {quoted(record.get('id'))} (image {quoted(self.name)})"


def _json_files(raw: Path) -> list[Path]:
    folders = [raw, *sorted(path for path in raw.iterdir() if path.is_dir() and not is_hidden(path.name))]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix.lower() == ".json"]
    return [path for path in files if path.is_file() and not is_hidden(path.name)]


def _read_all(raw: Path, findings: Findings) -> Iterator[_Listed]:
    """Read one COCO file after the other; raises InputError where two disagree on the categories."""
    try:
        files = _json_files(raw)
    except OSError as error:
        raise InputError(f"{raw}: cannot be listed ({error.strerror or error})") from None
    if not files:
        raise InputError(f"{raw}: no .json file there or one folder below; put COCO's into {raw / 'annotations'}")
    # Captions, which come with COCO's own sets, have images and annotations but no categories.
    likely = [path for path in files if mentions(path, LISTS)] or files  # if none is, the first says why
    findings.counts["JSON files without COCO's lists, left aside"] += len(files) - len(likely)
    first: _Listed | None = None
    for path in likely:
        listed = _read_file(path)
        first = first or listed
        if listed.names != first.names:
            raise InputError(f"{path}: categories {quoted(listed.names)}, but {first.lines.path} has "
                             f"{quoted(first.names)}; make them equal, or read one at a time")  # fmt: skip
        yield listed


def _read_file(path: Path) -> _Listed:
    value, lines = read_json(path), JsonLines(path, depth=2)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected COCO's object with {', '.join(LISTS)}; export it again")
    try:
        images, annotations, records = (member(value, key, list) for key in LISTS)
    except ValueError as error:
        raise InputError(f"{path}: {error}, as COCO has it; export it again") from None
    categories: dict[Id, str] = {}
    for index, record in enumerate(records):
        try:
            category_id, name = _id(record, "id"), class_name(record, "name")
            if _listed_id(category_id, categories) is not None:
                raise ValueError(f"category id {quoted(category_id)} stands twice")
        except ValueError as error:
            raise InputError(f"{lines.where('categories', index)}: {error}; mend the categories") from None
        categories[category_id] = name
    return _Listed(lines, images, annotations, categories, _root_category(records))


def _root_category(records: Sequence[dict[str, Any]]) -> str | None:
    for root in records:
        others = [each for each in records if each is not root]
        if others and root.get("supercategory") == "none":
            return root["name"] if all(each.get("supercategory") == root["name"] for each in others) else None
    return None


def _list_images(
    listed: _Listed, images: ListedImages, entries: dict[Path, _Entry], findings: Findings
) -> dict[Id, _Entry | None]:
    """Add an entry for each image of one file, and return them by id; None for those with a problem."""
    by_id: dict[Id, _Entry | None] = {}
    folder = listed.lines.path.parent.relative_to(images.raw).as_posix()
    split = listed.lines.path.stem.rpartition("_")[2]
    folders = (folder, ".", "images", f"{folder}/images", f"images/{split}", split, f"{split}/images")
    for index, record in enumerate(listed.images):
        try:
            image_id = _id(record, "id")
            if (twin := _listed_id(image_id, by_id)) is not None:
                how = "" if twin == image_id else f", as {_kind(image_id)} and as {_kind(twin)}"
                raise ValueError(f"this id stands twice{how}; renumber one")
            by_id[image_id] = None
            name = member(record, "file_name", str)
            path = images.find(name, folders, findings)
            if path in entries:
                other = entries[path].lines.where("images", entries[path].index)
                raise ValueError(f"{quoted(name)} is listed at {other} already; remove one")
        except ValueError as error:
            what = f"image id {quoted(record.get('id'))}" if isinstance(record, dict) else "images"
            findings.problem(f"{listed.lines.where('images', index)}: {what}: {error}")
            continue
        entries[path] = _Entry(listed.lines, index, name, written_size(record), listed.categories)
        by_id[image_id] = entries[path]
    return by_id


def _share_annotations(listed: _Listed, by_id: dict[Id, _Entry | None], findings: Findings) -> None:
    for index, record in enumerate(listed.annotations):
        try:
            written = _id(record, "image_id")
            image_id = _listed_id(written, by_id)
            if image_id is None:
                raise ValueError(f"annotation id {quoted(record.get('id'))}: image id {quoted(written)} is not listed"
                                 f"{_other_kind(written, by_id)}")  # fmt: skip
            findings.counts[RETYPED] += image_id != written
        except ValueError as error:
            findings.problem(f"{listed.lines.where('annotations', index)}: {error}")
            continue
        entry = by_id[image_id]
        if entry is not None:
            # Polygons make most of a file; what is not needed is not held.
            unneeded = "segmentation" if record.get("bbox") else ""
            entry.annotations.append((index, {key: part for key, part in record.items() if key != unneeded}))


def _id(record: Any, key: str) -> Id:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object with '{key}', found {quoted(record)}")
    value = record.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"'{key}' must be a whole number, found {'nothing' if value is None else quoted(value)}")
    return value


def _listed_id(written: Id, listed: Collection[Id]) -> Id | None:
    """Return the id in `listed` that `written` means: itself, or the text "1" for the number 1, or the other way."""
    if written in listed:
        return written
    if isinstance(written, int):
        return str(written) if abs(written) < LARGEST_PIXEL and str(written) in listed else None
    number = int(written) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", written) else None
    return number if number in listed else None


def _kind(written: Id) -> str:
    return "text" if isinstance(written, str) else "a number"


def _other_kind(written: Id, listed: Collection[Id]) -> str:
    """Say that an id which is not listed is text and the listed ones are numbers, or the other way."""
    kinds = {_kind(each): each for each in listed}
    if len(kinds) != 1 or _kind(written) in kinds:
        return ""
    [(kind, example)] = kinds.items()
    return f" (it is {_kind(written)}, those listed are {kind}, as {quoted(example)})"


def _category(record: dict[str, Any], categories: dict[Id, str], findings: Findings) -> str:
    written = _id(record, "category_id")
    category_id = _listed_id(written, categories)
    if category_id is None:
        other = _other_kind(written, categories)
        raise ValueError(f"category id {quoted(written)} is not among the categories{other}")
    findings.counts[RETYPED] += category_id != written
    return categories[category_id]


def _crowd_corners(record: dict[str, Any], size: tuple[int, int]) -> list[float]:
    """Return the corners of a crowd; of one whose only shape is a run-length mask, those of the whole frame."""
    try:
        return _corners(record)
    except _MaskOnly:
        return [0.0, 0.0, float(size[0]), float(size[1])]


def _corners(record: dict[str, Any]) -> list[float]:
    """Return x1 y1 x2 y2 in pixels; raises ValueError for anything but four numbers or polygons."""
    bbox = record.get("bbox")
    if bbox:
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f"bbox must be [x, y, width, height], found {quoted(bbox)}")
        x, y, width, height = (pixel(value, "each of bbox") for value in bbox)
        return [x, y, x + width, y + height]
    shape = record.get("segmentation")
    if isinstance(shape, dict):
        raise _MaskOnly("a run-length mask without a bbox")
    if not isinstance(shape, list) or not shape:
        raise ValueError("neither a bbox nor a polygon")
    values = []
    for polygon in shape:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon must be a list of three or more x, y pairs, found {quoted(polygon)}")
        values += [pixel(value, "each of segmentation") for value in polygon]
    return [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
