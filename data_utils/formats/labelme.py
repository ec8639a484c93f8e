"""LabelMe: one JSON file for each image, beside it or in a folder of labels, with shapes of points in pixels.

A rectangle is a box, its corners in any order; a polygon, a circle and a mask count with their extent, and are counted.
Points and lines have none; they are left aside and counted. LabelMe shows images turned by their EXIF orientation, so
its points lie on the displayed frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_utils.errors import InputError
from data_utils.files import visible_files, write_text
from data_utils.formats.labels import (
    CLASS_LIST,
    OUTLINED,
    Findings,
    LabelledImage,
    check_boxes,
    class_id_of,
    frame_size,
    label_paths,
    read_class_list,
    write_class_list,
)
from data_utils.formats.markup import (
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
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.imaging.header import ImageHeader
from data_utils.records import Annotation, cxcywhn_to_xyxy, xyxy_to_cxcywhn

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

LABEL_FOLDERS = ("labels", "annotations", "Annotations", "json")
# Shapes that cover an area, and the fewest points each may have.
POINTS = {
    "rectangle": 2, "polygon": 3, "circle": 2, "mask": 2, "oriented_rectangle": 4,
}  # fmt: skip
WITHOUT_AREA = ("point", "points", "line", "linestrip")
LOOKED_AT = 8  # files, to tell the format
VERSION = "5.4.1"  # of LabelMe, whose fields are written


def claims(raw: Path) -> bool:
    """Whether one of the first .json files below the folder has a list of shapes; never raises."""
    return any(mentions(path, ["shapes"]) for path in itertools.islice(_label_files(raw), LOOKED_AT))


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair `images/**` with `labels/**` or `annotations/**`, or images with the .json files beside them."""
    sources = pair_with_labels(Path(dataset.raw), ["images"], LABEL_FOLDERS, ".json", findings)
    if sources and (embedded := pictures_inside(Path(dataset.raw), {source.label for source in sources})):
        findings.counts["LabelMe files whose picture is in imageData alone, left out"] += len(embedded)
        findings.note(tell_pictures_inside(embedded))
    return sources


def pictures_inside(raw: Path, used: Collection[Path | None] = ()) -> list[Path]:
    """Return the files below `raw`, those in `used` aside, that hold a picture themselves; such are not read."""
    return [path for path in _label_files(raw) if path not in used and mentions(path, ["imageData"], '"')]


def tell_pictures_inside(files: Sequence[Path]) -> str:
    """Say of files from `pictures_inside` what they are and how they come to be read."""
    return (f"{len(files)} LabelMe files hold their picture in imageData alone, first {files[0]}; save each picture as "
            "a file beside its .json, as labelme_export_json does")  # fmt: skip


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Read the boxes of one frame; what is wrong with them goes into `findings`.

    With `header` None (a damaged image, to be found by the decode) the size written in the file is used.
    """
    assert source.label is not None
    path, lines = source.label, JsonLines(source.label, depth=2)
    record, shapes = _read_shapes(path)
    _compare_names(path, record.get("imagePath"), source.image, findings)
    written = written_size(record, "imageWidth", "imageHeight")
    size = frame_size(str(path), written, header, dataset.labels_frame, findings)
    if min(size) <= 0:
        return Annotation.empty()
    boxes, class_ids, kept = [], [], []
    for index, shape in enumerate(shapes):
        try:
            box = _extent(shape)
            if box is None:
                findings.counts["shapes left aside: a point or line has no box"] += 1
                continue
            class_id = class_id_of(class_name(shape, "label"), dataset.names)
        except ValueError as error:
            findings.problem(f"{lines.where('shapes', index)}: shape {index + 1}: {error}")
            continue
        findings.counts[OUTLINED] += shape.get("shape_type") != "rectangle"
        boxes.append(box)
        class_ids.append(class_id)
        kept.append(index)
    findings.counts["frames with skipped shapes alone, taken as healthy"] += bool(shapes) and not kept
    places = LazyPlaces(len(kept), lambda i: f"{lines.where('shapes', kept[i])}: shape {kept[i] + 1}")
    return check_boxes(xyxy_to_cxcywhn(np.array(boxes), *size), class_ids, places, dataset.bad_boxes, findings)


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the names in classes.txt, or, since shapes have no order, the labels of all boxes sorted."""
    if (raw / CLASS_LIST).is_file():
        return read_class_list(raw / CLASS_LIST)
    names = set()
    for path in _label_files(raw):
        if not mentions(path, ["shapes"]):
            continue  # another kind of file; beside an image, `find_sources` makes it a problem
        lines = JsonLines(path, depth=2)
        for index, shape in enumerate(_read_shapes(path)[1]):
            try:
                if _extent(shape) is not None:
                    names.add(class_name(shape, "label"))
            except ValueError as error:
                raise InputError(f"{lines.where('shapes', index)}: shape {index + 1}: {error}") from None
    if not names:
        raise InputError(f"{raw}: no LabelMe file there holds a box, so no class name; give --names")
    return tuple(sorted(names))


def write_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write a .json beside each image below folder/images, and classes.txt; a frame without boxes has no shapes.

    Raises InputError where two images (a.jpg, a.png) would share one.
    """
    below = label_paths(frames, ".json")
    written = [write_class_list(folder / CLASS_LIST, names)]
    for frame, inner in zip(frames, below, strict=True):
        corners = cxcywhn_to_xyxy(frame.annotation.boxes_cxcywhn, frame.width, frame.height)
        shapes = [
            {"label": names[class_id], "points": [[tidy(x1), tidy(y1)], [tidy(x2), tidy(y2)]], "group_id": None,
             "description": "", "shape_type": "rectangle", "flags": {}}
            for class_id, (x1, y1, x2, y2) in zip(frame.annotation.class_ids.tolist(), corners.tolist(), strict=True)
        ]  # fmt: skip
        path = folder / "images" / inner
        write_text(path, dump_rows({
            "version": VERSION, "flags": {}, "shapes": shapes, "imagePath": frame.inner.rpartition("/")[2],
            "imageData": None, "imageHeight": frame.height, "imageWidth": frame.width,
        }))  # fmt: skip
        written.append(path)
    return written


def _label_files(raw: Path) -> Iterator[Path]:
    """Yield the .json files below the folder in a fixed order."""
    yield from visible_files(raw, {".json"})


def _read_shapes(path: Path) -> tuple[dict[str, Any], list[Any]]:
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected LabelMe's object with shapes; export it again")
    try:
        return record, member(record, "shapes", list)
    except ValueError as error:
        raise InputError(f"{path}: {error}, as LabelMe has it; export it again") from None


def _compare_names(path: Path, written: object, image: Path, findings: Findings) -> None:
    if not isinstance(written, str) or written.replace("\\", "/").rpartition("/")[2] == image.name:
        return
    if not findings.counts["label files that name another image"]:
        findings.note(f"{path}: was drawn on {quoted(written)}, says its imagePath; it is used for {image}")
    findings.counts["label files that name another image"] += 1


def _extent(shape: Any) -> list[float] | None:
    """Return x1 y1 x2 y2 in pixels, None for a shape without area; raises ValueError for what is no shape."""
    if not isinstance(shape, dict):
        raise ValueError(f"expected an object with label and points, found {quoted(shape)}")
    kind = shape.get("shape_type") or "polygon"  # as in LabelMe's first versions, which had no other
    if kind in WITHOUT_AREA:
        return None
    if not isinstance(kind, str) or kind not in POINTS:
        raise ValueError(f"shape_type {quoted(kind)}; known: {', '.join((*POINTS, *WITHOUT_AREA))}")
    points = []
    for point in member(shape, "points", list):
        if not isinstance(point, list) or len(point) != 2:
            raise ValueError(f"each of points must be [x, y], found {quoted(point)}")
        points.append([pixel(value, "each of points") for value in point])
    if len(points) < POINTS[kind]:
        raise ValueError(f"a {kind} of {len(points)} points, expected {POINTS[kind]} or more")
    if kind == "circle":
        (x, y), rim = points[:2]
        radius = math.dist((x, y), rim)
        return [x - radius, y - radius, x + radius, y + radius]
    last = 1 if kind == "mask" else 0  # its second corner is the mask's last pixel, not its edge
    (x1, y1), (x2, y2) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
    return [x1, y1, x2 + last, y2 + last]
