"""One CVAT XML file, "for images 1.1" or "for video 1.1", parsed into images, tracks and straight boxes in pixels.

A rotated box, a polygon, an ellipse and a mask become the box around them, and are counted; points, lines, cuboids and
skeletons have none and are counted too. Tags of whole images are no boxes.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data_utils.errors import InputError
from data_utils.formats.labels import Findings
from data_utils.formats.xml_text import LARGEST_PIXEL, XmlElement, number, parse_xml, whole_size

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
