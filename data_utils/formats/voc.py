"""Pascal VOC: one XML file for each image, corners in pixels.

Corners are taken as edges: a box is the area from xmin to xmax and ymin to ymax, as the annotation tools of today write
them. Files that count pixels from 1 with xmax inside the box are off by at most one pixel on the left and top edge; no
file says which of the two it is. The image's size comes from its own header; a disagreeing <size> is counted and noted.
"""

from __future__ import annotations

import difflib
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_utils.boxes import xyxy_to_cxcywhn
from data_utils.errors import InputError
from data_utils.formats.labels import Findings, check_boxes, read_label_bytes
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.image_header import ImageHeader
from data_utils.types import Annotation

if TYPE_CHECKING:
    from data_utils.config_sections import DatasetSection

LARGEST_CORNER = 1e9  # pixels; also keeps NaN and infinity out
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair `JPEGImages/**` with `Annotations/**`, or images with the .xml files beside them."""
    folders = ["Annotations", "annotations"]
    return pair_with_labels(Path(dataset.raw), ["JPEGImages", "images"], folders, ".xml", findings)


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Read the boxes of one frame; what is wrong with them goes into `findings`.

    With `header` None (a damaged image, to be found by the decode) the size written in the XML is used.
    """
    assert source.label is not None
    path, data = source.label, read_label_bytes(source.label)
    root = _parse_xml(path, data)
    if root.tag != "annotation":
        raise InputError(f"{path}: begins with <{root.tag[:40]}>, expected Pascal VOC's <annotation>; export it again")
    written = _written_size(root)
    if header is None:
        size = written
    else:
        stored = (header.width, header.height)
        size = header.displayed_size if dataset.labels_frame == "displayed" else stored
        _compare_sizes(path, written, size, findings)
    if min(size) <= 0:
        return Annotation.empty()

    boxes, class_ids, places = [], [], []
    for index, element in enumerate(root.iter("object")):
        place = f"{path}:{_line_of_object(data, index)}"
        try:
            class_id, corners = _class_id(element, dataset.names), _corners(element)
        except ValueError as error:
            findings.problem(f"{place}: {error}")
            continue
        findings.counts["boxes marked difficult, kept"] += element.findtext("difficult", "0").strip() == "1"
        boxes.append(corners)
        class_ids.append(class_id)
        places.append(place)
    return check_boxes(xyxy_to_cxcywhn(np.array(boxes), *size), class_ids, places, dataset.bad_boxes, findings)


class _NoDoctype(ET.TreeBuilder):
    """Builds the tree but refuses document types: they are what entity bombs and file inclusion need."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("a DOCTYPE is not accepted")


def _parse_xml(path: Path, data: bytes) -> ET.Element:
    parser = ET.XMLParser(target=_NoDoctype())
    try:
        parser.feed(data)
        return parser.close()
    except ET.ParseError as error:
        raise InputError(f"{path}:{error.position[0]}: not well-formed XML ({error}); export it again") from None
    except (ValueError, LookupError) as error:  # the doctype, or an encoding unknown to the parser
        raise InputError(f"{path}:1: {error}; export it again") from None


def _written_size(root: ET.Element) -> tuple[int, int]:
    values = [_number(root.findtext(f"size/{key}")) for key in ("width", "height")]
    width, height = (int(value) if 0 < value < 1e6 else 0 for value in values)
    return width, height


def _compare_sizes(path: Path, written: tuple[int, int], size: tuple[int, int], findings: Findings) -> None:
    if written in (size, (0, 0)):
        return
    swapped = written == size[::-1]
    hint = " (swapped: was it drawn on the other of labels_frame displayed | stored?)" if swapped else ""
    if not findings.counts["image sizes that disagree with the XML"]:
        findings.note(
            f"{path}: says {written[0]}x{written[1]} pixels but the image has {size[0]}x{size[1]}{hint}; "
            "the image's size is used"
        )
    findings.counts["image sizes that disagree with the XML"] += 1


def _class_id(element: ET.Element, names: tuple[str, ...]) -> int:
    name = element.findtext("name", "").strip()
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name.casefold(), [known.casefold() for known in names], n=1, cutoff=0.4)
    known = [known for known in names if [known.casefold()] == near]
    hint = f", did you mean '{known[0]}'?" if known else ""
    raise ValueError(f"class '{name}' is not among dataset.names {list(names)}{hint}")


def _corners(element: ET.Element) -> list[float]:
    box = element.find("bndbox")
    if box is None:
        raise ValueError("an object without <bndbox>")
    texts = [box.findtext(key) for key in CORNERS]
    values = [_number(text) for text in texts]
    if not all(abs(value) < LARGEST_CORNER for value in values):
        wrong = ", ".join(f"{key} = {text}" for key, text in zip(CORNERS, texts, strict=True))
        raise ValueError(f"box corners must be numbers: {wrong[:120]}")
    return values


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _line_of_object(data: bytes, index: int) -> int:
    """Line of the `index`-th <object>: the tree does not keep lines, and only error messages need them."""
    position = -1
    for _ in range(index + 1):
        position = data.find(b"<object", position + 1)
    return data.count(b"\n", 0, max(position, 0)) + 1
