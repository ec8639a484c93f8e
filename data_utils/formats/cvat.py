"""CVAT's own XML, "for images 1.1" and "for video 1.1": one file describes many frames, shapes in pixels.

All CVAT files of a raw folder are read together; they must agree on their labels. An <image> is sought by its name, a
video's frame by the number that ends its name (frame_000012.png). Where a track skips frames, its box moves in a
straight line from one written frame to the next; it is not drawn on past its last one.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data_utils.errors import InputError
from data_utils.files import visible_files, write_text
from data_utils.formats.labels import Findings, LabelledImage, check_boxes, class_id_of, frame_size
from data_utils.formats.markup import (
    LARGEST_PIXEL,
    XmlElement,
    number,
    open_tag,
    parse_xml,
    pixel_corners,
    root_tag,
    text_tag,
    whole_size,
)
from data_utils.formats.sources import ListedImages, Source
from data_utils.imaging.header import ImageHeader
from data_utils.imaging.images import IMAGE_SUFFIXES
from data_utils.records import Annotation, xyxy_to_cxcywhn

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

# One CVAT XML file, "for images 1.1" or "for video 1.1", parsed into images, tracks and straight boxes in pixels.
#
# A rotated box, a polygon, an ellipse and a mask become the box around them, and are counted; points, lines, cuboids
# and
# skeletons have none and are counted too. Tags of whole images are no boxes.


ROOT = "annotations"
MAX_XML_BYTES = 1 << 28  # 256 MiB
LAST_FRAME = 10**9
SKIPPED = {"polyline": "lines", "points": "points", "cuboid": "cuboids", "skeleton": "skeletons"}

Corners = tuple[float, float, float, float]


class CvatBox(NamedTuple):
    """A box around one shape: x1 y1 x2 y2 in pixels, and the line its shape stands in."""

    label: str
    corners: Corners
    line: int


class TrackedBox(NamedTuple):
    """A box of a track in one frame; `outside`: the object has left, until the track's next box."""

    frame: int
    outside: bool
    corners: Corners
    line: int


@dataclass(frozen=True)
class CvatImage:
    """One <image>. size: (width, height) in pixels as written, 0 for what is not."""

    name: str
    subset: str
    size: tuple[int, int]
    line: int
    boxes: list[CvatBox]


@dataclass(frozen=True)
class CvatTrack:
    """One <track>: the boxes of one object, by frame."""

    label: str
    boxes: list[TrackedBox]

    def between(self, numbers: Sequence[int]) -> Iterator[tuple[int, CvatBox]]:
        """Yield (frame number, box) for each of `numbers`, sorted, that falls between two boxes of the track."""
        for before, after in zip(self.boxes, self.boxes[1:], strict=False):
            if before.outside or after.frame - before.frame < 2:
                continue
            first, end = bisect_right(numbers, before.frame), bisect_left(numbers, after.frame)
            for frame in numbers[first:end]:
                share = (frame - before.frame) / (after.frame - before.frame)
                pairs = zip(before.corners, after.corners, strict=True)
                x1, y1, x2, y2 = (a + share * (b - a) for a, b in pairs)
                yield frame, CvatBox(self.label, (x1, y1, x2, y2), before.line)


@dataclass
class CvatFile:
    """What one file holds. labels: the task's, in its order. video_size: (0, 0) where it has none.

    first_frame, last_frame: numbers of the video's frames that the task covers.
    """

    path: Path
    labels: tuple[str, ...] = ()
    images: list[CvatImage] = field(default_factory=list)
    tracks: list[CvatTrack] = field(default_factory=list)
    video_size: tuple[int, int] = (0, 0)
    first_frame: int = 0
    last_frame: int = LAST_FRAME
    is_video: bool = False


def read_cvat_file(path: Path, findings: Findings) -> CvatFile:
    """Parse the file at `path`; a shape that cannot be read is a problem with its line, what has no box is counted.

    Raises InputError for a file that is no CVAT XML or larger than MAX_XML_BYTES.
    """
    try:
        if path.stat().st_size > MAX_XML_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes, too large; export the tasks one by one")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    file = CvatFile(path)

    def take(element: XmlElement) -> None:
        if element.tag == "meta":
            _read_meta(element, file)
        elif element.tag == "image":
            file.images.append(_image(element, file, findings))
        elif element.tag == "track":
            file.tracks.append(_track(element, file, findings))

    root = parse_xml(path, data, take)
    if root.tag != ROOT:
        raise InputError(f"{path}: begins with <{root.tag[:40]}>, expected CVAT's <{ROOT}>; export it again")
    if not file.labels:
        shown = {box.label for image in file.images for box in image.boxes} | {track.label for track in file.tracks}
        file.labels = tuple(sorted(shown))
    return file


def _read_meta(meta: XmlElement, file: CvatFile) -> None:
    # The points of a skeleton are labels too, with a parent.
    labels = [each for each in meta.iter("label") if each.find("name") is not None and each.find("parent") is None]
    inner = {id(below) for each in labels for parts in each.iter("sublabels") for below in parts.iter("label")}
    names = [each.findtext("name", "") for each in labels if id(each) not in inner]
    file.labels = tuple(dict.fromkeys(name for name in names if name.strip()))
    size = meta.find(".//original_size")
    if size is not None:
        file.video_size = whole_size(size.findtext("width"), size.findtext("height"))
    file.is_video = size is not None or meta.findtext(".//mode", "").strip() == "interpolation"
    first, last = (number(meta.findtext(f".//{key}")) for key in ("start_frame", "stop_frame"))
    file.first_frame = int(first) if 0 <= first <= LAST_FRAME else 0
    file.last_frame = int(last) if 0 <= last <= LAST_FRAME else LAST_FRAME


def _image(element: XmlElement, file: CvatFile, findings: Findings) -> CvatImage:
    boxes = []
    for shape in _elements(element):
        corners = _corners_or_none(shape, file, findings)
        if corners is not None:
            boxes.append(CvatBox(shape.get("label", ""), corners, shape.line))
    if not boxes and any(shape.tag != "tag" for shape in _elements(element)):
        findings.counts["frames with skipped shapes alone, taken as healthy"] += 1
    size = whole_size(element.get("width"), element.get("height"))
    return CvatImage(element.get("name", ""), element.get("subset", ""), size, element.line, boxes)


def _track(element: XmlElement, file: CvatFile, findings: Findings) -> CvatTrack:
    boxes: dict[int, TrackedBox] = {}
    for shape in _elements(element):
        corners = _corners_or_none(shape, file, findings)
        if corners is None:
            continue
        frame = number(shape.get("frame"))
        if not 0 <= frame <= LAST_FRAME or frame != int(frame) or frame in boxes:
            what = "stands twice in its track" if frame in boxes else "is no frame number"
            findings.problem(f"{file.path}:{shape.line}: frame '{shape.get('frame', '')[:40]}' {what}; export it again")
            continue
        outside = shape.get("outside", "0").strip() == "1"
        boxes[int(frame)] = TrackedBox(int(frame), outside, corners, shape.line)
    return CvatTrack(element.get("label", ""), [boxes[frame] for frame in sorted(boxes)])


def _elements(parent: XmlElement) -> Iterator[XmlElement]:
    yield from (child for child in parent if isinstance(child, XmlElement))


def _corners_or_none(shape: XmlElement, file: CvatFile, findings: Findings) -> Corners | None:
    if shape.tag not in _BOXED:
        if shape.tag == "tag":
            findings.counts["tags of whole images, no boxes"] += 1
        else:
            findings.counts[f"{SKIPPED.get(shape.tag, 'unknown shapes')} skipped: no boxes"] += 1
        return None
    kind, around = _BOXED[shape.tag]
    try:
        corners = around(shape)
    except ValueError as error:
        findings.problem(f"{file.path}:{shape.line}: <{shape.tag}>: {error}; mend or remove it")
        return None
    if shape.tag != "box":
        findings.counts[f"{kind} taken as boxes"] += 1
    elif number(shape.get("rotation", "0")):
        findings.counts[f"rotated {kind} taken as straight ones around them"] += 1
    return corners


def _box(shape: XmlElement) -> Corners:
    x1, y1, x2, y2 = (_pixel(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    angle = _angle(shape)
    if not angle:
        return x1, y1, x2, y2
    # Turned about its centre: the half sides of the straight box around it.
    half_width, half_height = (x2 - x1) / 2, (y2 - y1) / 2
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    half = (half_width * cos + half_height * sin, half_width * sin + half_height * cos)
    return _around((x1 + x2) / 2, (y1 + y2) / 2, half)


def _ellipse(shape: XmlElement) -> Corners:
    cx, cy, rx, ry = (_pixel(shape, key) for key in ("cx", "cy", "rx", "ry"))
    angle = _angle(shape)
    cos, sin = math.cos(angle), math.sin(angle)
    return _around(cx, cy, (math.hypot(rx * cos, ry * sin), math.hypot(rx * sin, ry * cos)))


def _polygon(shape: XmlElement) -> Corners:
    points = [pair.split(",") for pair in shape.get("points", "").split(";")]
    if len(points) < 3 or any(len(pair) != 2 for pair in points):
        raise ValueError(f"points '{shape.get('points', '')[:60]}' are not three or more 'x,y' with ';' between")
    xs, ys = ([_checked(number(pair[axis]), "points") for pair in points] for axis in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _mask(shape: XmlElement) -> Corners:
    left, top, width, height = (_pixel(shape, key) for key in ("left", "top", "width", "height"))
    return left, top, left + width, top + height  # CVAT cuts masks to what they cover


_BOXED: dict[str, tuple[str, Callable[[XmlElement], Corners]]] = {
    "box": ("boxes", _box), "polygon": ("polygons", _polygon), "ellipse": ("ellipses", _ellipse),
    "mask": ("masks", _mask),
}  # fmt: skip


def _around(cx: float, cy: float, half: tuple[float, float]) -> Corners:
    return cx - half[0], cy - half[1], cx + half[0], cy + half[1]


def _angle(shape: XmlElement) -> float:
    """Return the rotation in radians."""
    return math.radians(_checked(number(shape.get("rotation", "0")), "rotation"))


def _pixel(shape: XmlElement, key: str) -> float:
    return _checked(number(shape.get(key)), f"{key} = '{shape.get(key, '')[:40]}'")


def _checked(value: float, what: str) -> float:
    if not abs(value) < LARGEST_PIXEL:
        raise ValueError(f"{what}: must be a number")
    return value


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
    for frame_id, frame in enumerate(frames):
        attributes = (("id", frame_id), ("name", frame.inner), ("width", frame.width), ("height", frame.height))
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
        for moment, box in track.between(in_order):
            boxes[moment].append(box)
            findings.counts["boxes interpolated between frames of a track"] += 1
    if not numbered:
        findings.problem(f"{file.path}: no frame of its video below {images.raw}; put them into "
                         f"{file.path.parent / 'images'} as frame_000000.png, frame_000001.png, ...")  # fmt: skip
    elif n_absent:
        findings.counts["boxes of a video's frames without an image"] += n_absent
        findings.note(f"{file.path}: {n_absent} boxes are of frames that have no image")
    for moment, path in numbered.items():
        # Within what the task covers, a frame without a box is healthy.
        if boxes[moment] or file.first_frame <= moment <= file.last_frame:
            try:
                _add(path, _Entry(file.path, 1, file.video_size, boxes[moment]), entries)
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
