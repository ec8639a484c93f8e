"""YOLO label files: one box a line, `class cx cy w h`, centre and size over the frame's width and height.

A folder may say more in data.yaml, or in CVAT's obj.names and train.txt: its classes, which must be dataset.names, and
its images. Without them, every image below `images/` (or below the folder itself) is a frame.
"""

from __future__ import annotations

import math
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from data_utils.config.loading import read_yaml
from data_utils.errors import InputError
from data_utils.files import is_hidden, write_text
from data_utils.formats.labels import (
    CLASS_LIST,
    SHOWN,
    BadBoxes,
    Findings,
    LabelledImage,
    breaks_line,
    check_boxes,
    label_paths,
    read_class_list,
    read_label_bytes,
)
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.formats.spelling import NameIndex
from data_utils.imaging.header import ImageHeader
from data_utils.imaging.images import list_images
from data_utils.records import Annotation

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

# What a YOLO folder says about itself: class names, and where its images are listed.
#
# Ultralytics and CVAT write data.yaml; darknet and CVAT's "YOLO 1.1" write obj.names and obj.data; drawing tools leave
# classes.txt. All of them count class ids from 0 in their own order, so they must agree with dataset.names.


YAML_FILES = ("data.yaml", "dataset.yaml", "data.yml")
OBJ_NAMES, OBJ_DATA = "obj.names", "obj.data"
LIST_KEYS = ("train", "val", "valid", "validation", "test")  # in any case: tools write Train and Validation too
OTHER_DARKNET_KEYS = ("classes", "names", "backup", "eval")  # of obj.data; all others name lists of images
DARKNET_LISTS = ("train.txt", "valid.txt", "test.txt")  # beside obj.names, where there is no obj.data
MAX_BYTES = 1 << 17  # 128 KiB hold five thousand names, and PyYAML needs seconds for them
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class YoloIndex:
    """One file that names classes or lists images.

    names, nc: None where the file does not say. entries: (key it stands under, what it says) of each list or folder of
    images. root: `path` of a data.yaml, what its entries are relative to. has_keypoints: its labels are poses.
    """

    path: Path
    names: tuple[str, ...] | None
    nc: int | None = None
    entries: tuple[tuple[str, str], ...] = ()
    root: str = "."
    has_keypoints: bool = False


def read_indexes(raw: Path) -> list[YoloIndex]:
    """Read the index of `raw` and of each folder right below it; of each folder one: data.yaml before obj.names before
    classes.txt. Raises InputError naming file and key for one that cannot be read.
    """
    indexes = []
    for folder in index_folders(raw):
        yaml_file = next((folder / name for name in YAML_FILES if (folder / name).is_file()), None)
        if yaml_file is not None:
            indexes.append(_read_data_yaml(yaml_file))
        elif (folder / OBJ_NAMES).is_file():
            indexes.append(_read_darknet(folder))
        elif (folder / CLASS_LIST).is_file():
            indexes.append(YoloIndex(folder / CLASS_LIST, read_class_list(folder / CLASS_LIST)))
    return indexes


def index_folders(raw: Path) -> list[Path]:
    """Return `raw` and the folders right below it, where archives have their one top folder; hidden ones left out."""
    below = sorted(path for path in raw.iterdir() if path.is_dir() and not is_hidden(path.name))
    return [raw, *below]


def write_data_yaml(path: Path, names: Sequence[str]) -> None:
    """Write a data.yaml whose images are all of `images/` beside it, classes in their order."""
    lines = ["path: .", "train: images", "names:"]
    # Always quoted: as plain words 1e-3, no or ~ would come back as something else.
    lines += [f"  {number}: {_quoted_name(name)}" for number, name in enumerate(names)]
    write_text(path, "\n".join([*lines, ""]))


def _read_data_yaml(path: Path) -> YoloIndex:
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, too large for a data.yaml; list images in a .txt file")
    values = read_yaml(path)
    names = _names_of(values.get("names"), path)
    nc = values.get("nc")
    if nc is not None and (isinstance(nc, bool) or not isinstance(nc, int) or not 0 < nc <= MAX_CLASSES):
        raise InputError(f"{path}: nc must be a number of classes")
    if names is not None and nc not in (None, len(names)):
        raise InputError(f"{path}: nc = {nc}, but names lists {len(names)}: {_shown(names)}; mend one of them")
    root = values.get("path")
    if not isinstance(root, str | None):
        raise InputError(f"{path}: path must be text, the folder of the images")
    written = {str(key).lower(): str(key) for key in values}
    keys = [written[key] for key in LIST_KEYS if key in written]
    entries = [(key, entry) for key in keys for entry in _entries_of(values[key], key, path)]
    return YoloIndex(path, names, nc, tuple(entries), root or ".", "kpt_shape" in values)


def _read_darknet(folder: Path) -> YoloIndex:
    names = read_class_list(folder / OBJ_NAMES)
    data = folder / OBJ_DATA
    if not data.is_file():
        entries = [(name, name) for name in DARKNET_LISTS if (folder / name).is_file()]
        return YoloIndex(folder / OBJ_NAMES, names, None, tuple(entries))
    try:
        text = read_label_bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{data}: not UTF-8 text; save it as UTF-8, 'key = value' a line") from None
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in text.split("\n"))]
    settings = dict(pairs)
    nc = settings.get("classes", str(len(names)))
    if nc != str(len(names)):
        raise InputError(f"{data}: classes = {nc[:40]}, but {OBJ_NAMES} lists {len(names)}: {_shown(names)}; mend one")
    entries = [(key, value) for key, value in pairs if value and key not in OTHER_DARKNET_KEYS]
    return YoloIndex(folder / OBJ_NAMES, names, None, tuple(entries))


def _names_of(value: Any, path: Path) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        keys = list(value)
        if any(isinstance(key, bool) or not isinstance(key, int) for key in keys) or set(keys) != set(range(len(keys))):
            raise InputError(f"{path}: names must be numbered 0, 1, 2, ... without a gap, or be a list")
        value = [value[key] for key in sorted(keys)]
    if not isinstance(value, list) or len(value) > MAX_CLASSES:
        raise InputError(f"{path}: names must be a list, [a, b], or numbered lines, 0: a")
    return _distinct([_name_of(name, path) for name in value], path)


def _name_of(name: Any, path: Path) -> str:
    if not isinstance(name, str) or any(map(breaks_line, name)):
        raise InputError(f"{path}: class names must be words, each on one line")
    return name


def _entries_of(value: Any, key: str, path: Path) -> list[str]:
    entries = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(entry, str) and not any(map(breaks_line, entry)) for entry in entries):
        raise InputError(f"{path}: {key} must be a folder, a list file, or a list of those")
    return [entry.strip() for entry in entries if entry.strip()]


def _distinct(names: Sequence[str], path: Path) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names) or not all(name.strip() for name in names):
        raise InputError(f"{path}: class names must be distinct and not empty, found {_shown(names)}; mend the list")
    return tuple(names)


def _shown(names: Sequence[str]) -> str:
    return str(list(names))[:200]


def _quoted_name(name: str) -> str:
    return yaml.safe_dump(name, default_style='"', allow_unicode=True, width=1 << 20).strip()


# The images that a YOLO folder lists, in data.yaml or in obj.data's train.txt.
#
# What is listed is looked up among the images below the raw folder, never opened, so that no entry leads out of it.


_DRIVE = re.compile(r"^[A-Za-z]:")


def listed_images(
    raw: Path, indexes: Sequence[YoloIndex], findings: Findings, max_missing: float = 0.0
) -> set[str] | None:
    """Return the paths below `raw`, "/" between parts and in NFC, of the images these files list; None if none lists.

    An entry that leads out of `raw` is a problem, and so are entries of which some are there and others are not, and
    more than a share `max_missing` of the lines of list files that name no image. Where no entry is there, all images
    count, with a note. Images that no entry names are counted.
    """
    if not any(index.entries for index in indexes):
        return None
    images = {relative_key(path, raw) for path in list_images(raw)}
    finder = _Finder(raw, images, findings)
    listed = {found for index in indexes for key, entry in index.entries for found in finder.entry(index, key, entry)}
    if not listed and not findings.problems and not finder.gone:
        findings.counts["lists and folders of data.yaml or obj.data that are not there"] += len(finder.missing)
        findings.note(f"{indexes[0].path}: none of its lists and folders is there, so all images count: "
                      f"{', '.join(finder.missing)}")  # fmt: skip
        return None  # every entry is of another machine
    _refuse_missing(finder, indexes[0].path, max_missing, findings)
    if others := sorted(images - listed):
        findings.counts["images that no list names, left out"] += len(others)
        findings.note(f"{len(others)} images stand in no list of {indexes[0].path} and were left out: {others[0]}")
    return listed


def _refuse_missing(finder: _Finder, where: Path, max_missing: float, findings: Findings) -> None:
    """Record what is missing from lists that are there in part: the rest alone would pass for the whole set."""
    if finder.missing:
        findings.problem(f"{where}: some of its lists and folders are there, {len(finder.missing)} are not or hold "
                         f"no image: {', '.join(finder.missing)}; put them there, or take them out of it")  # fmt: skip
    if not finder.gone:
        return
    what = f"{len(finder.gone)} of {finder.n_lines} listed images are not there: {', '.join(finder.gone[:SHOWN])}"
    if len(finder.gone) > max_missing * finder.n_lines:
        findings.problem(f"{what}; put them where the list says, beside their label files, or raise "
                         "dataset.max_unreadable")  # fmt: skip
    else:
        findings.counts["listed images that are not there"] += len(finder.gone)
        findings.note(what)


def relative_key(path: Path, raw: Path) -> str:
    """Return how an image below `raw` is known here: its relative path in NFC."""
    return unicodedata.normalize("NFC", path.relative_to(raw).as_posix())


class _Finder:
    """Looks entries up among the images of one raw folder."""

    def __init__(self, raw: Path, images: set[str], findings: Findings) -> None:
        self._raw, self._images, self._findings = raw, images, findings
        self._names = NameIndex(images)
        self.missing: list[str] = []  # entries that are not there, or hold no image
        self.gone: list[str] = []  # lines of list files that name no image
        self.n_lines = 0
        self._roots = {root.as_posix() for root in (raw.absolute(), raw.resolve())}
        folders = [key.split("/")[:-1] for key in images]
        self._folders = {"/".join(parts[:n]) or "." for parts in folders for n in range(len(parts) + 1)}

    def entry(self, index: YoloIndex, key: str, entry: str) -> Iterator[str]:
        """Yield the images of one folder, image or list file that `index` names under `key`."""
        bases = self._bases(index)
        # Widely used exports say ../train/images for the train/images beside the file.
        spellings = [entry, re.sub(r"^(\.\./)+", "", entry.replace("\\", "/"))]
        places = [place for spelling in spellings for place in self._places(spelling, bases)]
        for place in places:
            if place in self._folders:
                prefix = "" if place == "." else place + "/"
                yield from (image for image in self._images if image.startswith(prefix))
                return
            if (image := self._known(place)) is not None:
                yield image
                return
            if self._is_list(place):
                yield from self._lines(self._raw / place, [*bases, posixpath.dirname(place)])
                return
        if not self._places(entry, bases):
            self._findings.problem(f"{index.path}: {key}: '{entry[:200]}' leads out of {self._raw}; copy the images "
                                   "into it and list them relative to the file")  # fmt: skip
            return
        self.missing.append(f"{key}: '{entry[:200]}'")

    def _lines(self, path: Path, bases: list[str]) -> Iterator[str]:
        try:
            text = read_label_bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{path}: not a UTF-8 list of images; save it as UTF-8") from None
        for line_number, line in enumerate(text.split("\n"), start=1):
            if not (name := line.strip()):
                continue
            self.n_lines += 1
            places = self._places(name, bases)
            found = next((image for image in map(self._known, places) if image is not None), None)
            if found is not None:
                yield found
                continue
            if not places:
                self._findings.problem(f"{path}:{line_number}: '{name[:200]}' leads out of {self._raw}; copy the "
                                       "images into it and list them relative to the file")  # fmt: skip
                continue
            self.gone.append(f"{path}:{line_number}: '{name[:200]}'")

    def _known(self, place: str) -> str | None:
        """Return the image that a listed path means; of two that a person reads alike, none."""
        try:
            return self._names.find(place)
        except ValueError as error:
            self._findings.problem(str(error))
            return None

    def _bases(self, index: YoloIndex) -> list[str]:
        """Folders below raw that entries may be relative to; a `path` elsewhere is one of another machine."""
        home = index.path.parent.relative_to(self._raw).as_posix()
        return list(dict.fromkeys([*self._places(index.root, [home], strip=False), home, "."]))

    def _places(self, entry: str, bases: Sequence[str], strip: bool = True) -> list[str]:
        """Return where below raw `entry` may lie; nothing if it leads out of it, whatever it is relative to."""
        found: list[str] = []
        for spelling in dict.fromkeys((entry, entry.replace("\\", "/"))):
            if spelling.startswith("/") or _DRIVE.match(spelling):
                places = [spelling[len(root) :].lstrip("/") for root in self._roots
                          if spelling == root or spelling.startswith(root + "/")]  # fmt: skip
            else:
                # Darknet's lists, and CVAT's, begin with the data/ folder of the trainer they are made for.
                tails = dict.fromkeys([spelling, spelling.removeprefix("data/")] if strip else [spelling])
                places = [posixpath.join(base, tail) for base in bases for tail in tails]
            places = [posixpath.normpath(place) for place in places]
            inside = [place for place in places if place != ".." and not place.startswith(("../", "/"))]
            if not inside:
                return []
            found += [unicodedata.normalize("NFC", place) for place in inside]
        return found

    def _is_list(self, place: str) -> bool:
        try:
            return place.lower().endswith(".txt") and (self._raw / place).is_file()
        except OSError:  # a name too long for the file system
            return False


COLUMNS = 5
LONGEST_ID = 24  # characters of a class id: 0.000000000000000000e+00
LEAST_POLYGON = 7  # columns: class x1 y1 x2 y2 x3 y3
POLYGONS = "polygons taken as boxes"
IMAGE_FOLDERS, LABEL_FOLDERS = ["images"], ["labels"]


def claims(raw: Path) -> bool:
    """Whether an image below `raw` has a YOLO label."""
    return any(source.label for source in pair_with_labels(raw, IMAGE_FOLDERS, LABEL_FOLDERS, ".txt", Findings()))


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair `images/**` with `labels/**`, or images with the .txt files beside them.

    Where data.yaml or obj.data lists images, those alone are taken. Class names there that are not dataset.names are a
    problem: each class id would mean another class.
    """
    raw = Path(dataset.raw)
    indexes = read_indexes(raw)
    for index in indexes:
        _compare_names(index, dataset, findings)
    listed = listed_images(raw, indexes, findings, dataset.max_unreadable)
    everywhere = listed is not None
    sources = pair_with_labels(raw, IMAGE_FOLDERS, LABEL_FOLDERS, ".txt", findings, everywhere=everywhere)
    return [source for source in sources if listed is None or relative_key(source.image, raw) in listed]


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the class names that data.yaml, obj.names or classes.txt gives.

    Raises InputError where none does, where two disagree, and for one that cannot be read.
    """
    named = [index for index in read_indexes(raw) if index.names is not None]
    for index in named[1:]:
        if index.names != named[0].names:
            raise InputError(f"{index.path}: names {list(index.names or ())}, but {named[0].path} has "
                             f"{list(named[0].names or ())}; convert the two folders one by one")  # fmt: skip
    if not named or named[0].names is None:
        raise InputError(f"{raw}: no class names found: no data.yaml, obj.names or classes.txt; give --names")
    return named[0].names


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Read the boxes of one frame; what is wrong with them goes into `findings`. `header` is not needed.

    A polygon (`class x1 y1 x2 y2 x3 y3 ...`) is taken as the box around it, and counted.
    """
    assert source.label is not None
    data = read_label_bytes(source.label)
    return _parse(source.label, data, dataset.nc, dataset.bad_boxes, findings, polygons=True)


def read_labels(path: str | Path, nc: int) -> Annotation:
    """Read one label file strictly: boxes in [0, 1], class ids in 0..nc-1. An empty file is a healthy frame.

    A byte order mark, CRLF and trailing spaces are accepted, edges that stick out of the frame are clipped, duplicates
    left out (see `labels.check_boxes`). Raises InputError naming file and line for anything else.
    """
    findings = Findings()
    annotation = _parse(Path(path), read_label_bytes(Path(path)), nc, "error", findings)
    findings.raise_problems()
    return annotation


def write_labels(path: str | Path, annotation: Annotation) -> bool:
    """Write one label file whole or not at all, and return whether it changed; no boxes make an empty file.

    Ten significant digits are kept, so `read_labels` gives the boxes back within 1e-9.
    """
    rows = zip(annotation.class_ids.tolist(), annotation.boxes_cxcywhn.tolist(), strict=True)
    lines = [" ".join([str(class_id), *(f"{value:.10g}" for value in box)]) for class_id, box in rows]
    return write_text(path, "".join(line + "\n" for line in lines))


def write_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write `folder/labels/<inner>.txt` and data.yaml; the images belong at `folder/images/<inner>`.

    A frame without boxes gets an empty file. Raises InputError where two images (a.jpg, a.png) would share one.
    """
    paths = [folder / LABEL_FOLDERS[0] / inner for inner in label_paths(frames, ".txt")]
    write_data_yaml(folder / "data.yaml", names)
    for path, frame in zip(paths, frames, strict=True):
        write_labels(path, frame.annotation)
    return [folder / "data.yaml", *paths]


def _compare_names(index: YoloIndex, dataset: DatasetSection, findings: Findings) -> None:
    if index.has_keypoints:
        findings.problem(f"{index.path}: kpt_shape: its labels are poses, not boxes; export boxes")
    if index.names is not None and index.names != dataset.names:
        findings.problem(f"{index.path}: names {list(index.names)} but dataset.names = {list(dataset.names)}; class "
                         "ids would mean other classes: set dataset.nc and dataset.names as in the file")  # fmt: skip
    elif index.nc is not None and index.nc != dataset.nc:
        findings.problem(f"{index.path}: nc = {index.nc} but dataset.nc = {dataset.nc}; make them agree")


def _parse(
    path: Path, data: bytes, nc: int, bad_boxes: BadBoxes, findings: Findings, *, polygons: bool = False
) -> Annotation:
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.isascii() or b"\0" in data:
        findings.problem(f"{path}: not a text file of numbers; export the labels again")
        return Annotation.empty()
    boxes, class_ids, places = [], [], []
    for number, line in enumerate(data.decode("ascii").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id, values = _parse_line(fields, nc, polygons)
        except ValueError as error:
            findings.problem(f"{path}:{number}: {error}")
            continue
        findings.counts[POLYGONS] += len(values) > COLUMNS - 1
        boxes.append(values if len(values) == COLUMNS - 1 else _box_around(values))
        class_ids.append(class_id)
        places.append(f"{path}:{number}")
    return check_boxes(boxes, class_ids, places, bad_boxes, findings)


def _parse_line(fields: list[str], nc: int, polygons: bool) -> tuple[int, list[float]]:
    is_polygon = len(fields) >= LEAST_POLYGON and len(fields) % 2 == 1
    if len(fields) != COLUMNS and not (polygons and is_polygon):
        hint = " (a polygon? only boxes are taken here)" if is_polygon else ""
        hint = " (a detection with its score? remove the last)" if len(fields) == COLUMNS + 1 else hint
        raise ValueError(f"{len(fields)} columns, expected {COLUMNS}: class cx cy w h{hint}")
    number = _number(fields[0]) if len(fields[0]) <= LONGEST_ID else math.nan
    if not number.is_integer():
        raise ValueError(f"class id {_quoted(fields[0])} is not an integer")
    class_id = int(number)  # NumPy's savetxt and pandas write 0.0 and 0.000e+00
    if not 0 <= class_id < nc:
        raise ValueError(f"class id {class_id}, but dataset.nc = {nc} allows 0..{nc - 1}; "
                         "mend the label, or dataset.nc and dataset.names")  # fmt: skip
    values = [_number(text) for text in fields[1:]]
    if any(math.isnan(value) and "nan" not in text.lower() for value, text in zip(values, fields[1:], strict=True)):
        count = "four" if len(fields) == COLUMNS else str(len(fields) - 1)
        raise ValueError(f"{_quoted(' '.join(fields[1:]))} are not {count} numbers")
    return class_id, values


def _number(text: str) -> float:
    """Return a decimal number, NaN for anything else: float() would also take digit groups such as 1_000."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _box_around(polygon: list[float]) -> list[float]:
    """Return cx cy w h of the box around x1 y1 x2 y2 ...; NaN among them stays NaN."""
    points = np.array(polygon).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # check_boxes refuses what overflows
        return [*((low + high) / 2).tolist(), *(high - low).tolist()]


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
