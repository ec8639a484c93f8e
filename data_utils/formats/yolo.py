"""YOLO label files: one box a line, `class cx cy w h`, centre and size over the frame's width and height.

A folder may say more in data.yaml, or in CVAT's obj.names and train.txt: its classes, which must be dataset.names, and
its images. Without them, every image below `images/` (or below the folder itself) is a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_utils.atomic import write_text
from data_utils.errors import InputError
from data_utils.formats.labelled_image import LabelledImage, label_paths
from data_utils.formats.labels import BadBoxes, Findings, check_boxes, read_label_bytes
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.formats.yolo_lists import listed_images, relative_key
from data_utils.formats.yolo_names import YoloIndex, read_indexes, write_data_yaml
from data_utils.imaging.image_header import ImageHeader
from data_utils.types import Annotation

if TYPE_CHECKING:
    from data_utils.dataset_section import DatasetSection

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
