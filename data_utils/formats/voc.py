"""Pascal VOC: one XML file for each image, corners in pixels.

Corners are taken as edges: a box is the area from xmin to xmax and ymin to ymax, as the annotation tools of today write
them. Files that count pixels from 1 with xmax inside the box are off by at most one pixel on the left and top edge; no
file says which of the two it is. The image's size comes from its own header; a disagreeing <size> is counted and noted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from data_utils.errors import InputError
from data_utils.files import visible_files, write_text
from data_utils.formats.labels import (
    CLASS_LIST,
    Findings,
    LabelledImage,
    breaks_line,
    check_boxes,
    class_id_of,
    frame_size,
    label_paths,
    read_class_list,
    read_label_bytes,
    write_class_list,
)
from data_utils.formats.markup import (
    LARGEST_PIXEL,
    XmlElement,
    number,
    parse_xml,
    pixel_corners,
    root_tag,
    text_tag,
    whole_size,
)
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.formats.yolo import index_folders
from data_utils.imaging.header import ImageHeader
from data_utils.records import Annotation, xyxy_to_cxcywhn

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

CORNERS = ("xmin", "ymin", "xmax", "ymax")
IMAGE_FOLDERS, LABEL_FOLDERS = ["JPEGImages", "images"], ["Annotations", "annotations"]
COLOURS = "labelmap.txt"  # CVAT's list of classes


def claims(raw: Path) -> bool:
    """Whether an image below `raw` has a VOC label."""
    return any(source.label for source in pair_with_labels(raw, IMAGE_FOLDERS, LABEL_FOLDERS, ".xml", Findings()))


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair `JPEGImages/**` with `Annotations/**`, or images with the .xml files beside them."""
    return pair_with_labels(Path(dataset.raw), IMAGE_FOLDERS, LABEL_FOLDERS, ".xml", findings)


def class_names(raw: Path) -> tuple[str, ...]:
    """Return the class names of a VOC folder: of labelmap.txt or classes.txt, else those of its objects, sorted.

    Raises InputError where there is none, and for a file that cannot be read.
    """
    for name, read in ((COLOURS, _read_colours), (CLASS_LIST, read_class_list)):
        for folder in index_folders(raw):
            if (folder / name).is_file():
                return read(folder / name)
    found: set[str] = set()
    for path in visible_files(raw, {".xml"}):
        if root_tag(path) == "annotation":
            found |= {_name(element) for element in parse_xml(path, read_label_bytes(path)).iter("object")}
    if not found - {""}:
        raise InputError(f"{raw}: no class names found: no labelled object, and no {CLASS_LIST}; give --names")
    return tuple(sorted(found - {""}))


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Read the boxes of one frame; what is wrong with them goes into `findings`.

    With `header` None (a damaged image, to be found by the decode) the size written in the XML is used.
    """
    assert source.label is not None
    path = source.label
    root = parse_xml(path, read_label_bytes(path))
    if root.tag != "annotation":
        raise InputError(f"{path}: begins with <{root.tag[:40]}>, expected Pascal VOC's <annotation>; export it again")
    written = whole_size(root.findtext("size/width"), root.findtext("size/height"))
    size = frame_size(str(path), written, header, dataset.labels_frame, findings)
    if min(size) <= 0:
        return Annotation.empty()

    boxes, class_ids, places = [], [], []
    for element in root.iter("object"):
        place = f"{path}:{element.line if isinstance(element, XmlElement) else 1}"
        try:
            class_id, corners = class_id_of(_name(element), dataset.names), _corners(element)
        except ValueError as error:
            findings.problem(f"{place}: {error}")
            continue
        findings.counts["boxes marked difficult, kept"] += element.findtext("difficult", "0").strip() == "1"
        boxes.append(corners)
        class_ids.append(class_id)
        places.append(place)
    return check_boxes(xyxy_to_cxcywhn(np.array(boxes), *size), class_ids, places, dataset.bad_boxes, findings)


def write_set(folder: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> list[Path]:
    """Write `folder/Annotations/<inner>.xml` for each frame, whose image belongs at `folder/JPEGImages/<inner>`.

    classes.txt keeps the order of the names. Raises InputError for a name that XML cannot hold, and where two images
    (a.jpg, a.png) would share a file.
    """
    paths = [folder / LABEL_FOLDERS[0] / inner for inner in label_paths(frames, ".xml")]
    texts = [_annotation_text(frame, names) for frame in frames]
    write_class_list(folder / CLASS_LIST, names)
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return [folder / CLASS_LIST, *paths]


def _annotation_text(frame: LabelledImage, names: Sequence[str]) -> str:
    place = PurePosixPath(IMAGE_FOLDERS[0]) / frame.inner
    lines = [
        "<annotation>",
        "  " + text_tag("folder", place.parent.as_posix()),
        "  " + text_tag("filename", place.name),
        f"  <size><width>{frame.width}</width><height>{frame.height}</height><depth>3</depth></size>",
        "  <segmented>0</segmented>",
    ]
    for class_id, corners in zip(frame.annotation.class_ids.tolist(), pixel_corners(frame), strict=True):
        box = "".join(f"<{tag}>{text}</{tag}>" for tag, text in zip(CORNERS, corners, strict=True))
        lines += [
            "  <object>",
            "    " + text_tag("name", names[class_id]),
            "    <pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>",
            f"    <bndbox>{box}</bndbox>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])


def _read_colours(path: Path) -> tuple[str, ...]:
    """Read CVAT's labelmap.txt: `label:red,green,blue:parts:actions` a line; background is no class."""
    names = []
    for line, text in enumerate(_text(path).split("\n"), start=1):
        name = text.strip().rsplit(":", 3)[0]
        if not name or name.startswith("#") or name == "background":
            continue
        if name in names or any(map(breaks_line, name)):
            raise InputError(f"{path}:{line}: class '{name[:80]}' stands twice or holds a control character; mend it")
        names.append(name)
    if not names:
        raise InputError(f"{path}: no classes in it; write one a line, as name:::")
    return tuple(names)


def _text(path: Path) -> str:
    try:
        return read_label_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8") from None


def _name(element: ET.Element) -> str:
    return element.findtext("name", "").strip()


def _corners(element: ET.Element) -> list[float]:
    box = element.find("bndbox")
    if box is None:
        raise ValueError("an object without <bndbox>")
    texts = [box.findtext(key) for key in CORNERS]
    values = [number(text) for text in texts]
    if not all(abs(value) < LARGEST_PIXEL for value in values):
        wrong = ", ".join(f"{key} = {text}" for key, text in zip(CORNERS, texts, strict=True))
        raise ValueError(f"box corners must be numbers: {wrong[:120]}")
    return values
