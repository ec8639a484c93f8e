"""What the XML formats share: safe parsing that keeps line numbers, reading numbers, and writing.

Document types are refused, because entity bombs and file inclusion need one. Nothing is ever fetched.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from data_utils.boxes import clip_xyxy, cxcywhn_to_xyxy
from data_utils.errors import InputError
from data_utils.formats.json_text import tidy
from data_utils.formats.labelled_image import LabelledImage
from data_utils.formats.labels import breaks_line

ROOT_BYTES = 1 << 16  # the root element stands within these, or the file is something else
LARGEST_PIXEL = 1e9  # coordinates beyond are no pixels; also keeps NaN and infinity out


class XmlElement(ET.Element):
    """An element that knows its line in the file."""

    line: int = 1


class _Stop(Exception):
    """Ends a parse that has seen enough."""


def parse_xml(path: Path, data: bytes, on_child: Callable[[XmlElement], None] | None = None) -> XmlElement:
    """Parse `data`, the text of `path`, into its root element, tags in a namespace written "namespace}tag".

    With `on_child`, each finished child of the root is handed to it and then dropped, so that a large file needs little
    memory. Raises InputError naming file and line for a DOCTYPE and for text that is not well-formed.
    """
    parser = expat.ParserCreate(None, "}")
    tree = ET.TreeBuilder(element_factory=XmlElement)
    open_elements: list[Any] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        element: Any = tree.start(tag, attributes)
        element.line = parser.CurrentLineNumber
        open_elements.append(element)

    def end(tag: str) -> None:
        tree.end(tag)
        element = open_elements.pop()
        if on_child is not None and len(open_elements) == 1:
            on_child(element)
            open_elements[0].clear()

    def refuse_doctype(*_: object) -> None:
        raise InputError(f"{path}:{parser.CurrentLineNumber}: a DOCTYPE is not accepted; export it again")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = tree.data, refuse_doctype
    try:
        parser.Parse(data, True)
        return tree.close()  # type: ignore[return-value]  # the factory makes nothing else
    except expat.ExpatError as error:
        raise InputError(f"{path}:{error.lineno}: not well-formed XML ({error}); export it again") from None
    except InputError:
        raise
    except (ValueError, LookupError) as error:  # an encoding that Python does not know, or cannot use here
        raise InputError(f"{path}:1: {error}; export it again") from None


def root_tag(path: Path) -> str | None:
    """Return the tag of the root element, "" if its start cannot be parsed, None if the file cannot be read.

    A document type says the tag too; `parse_xml` is what refuses it.
    """
    found: list[str] = []

    def stop(tag: str, *_: object) -> None:
        found.append(tag)
        raise _Stop

    parser = expat.ParserCreate(None, "}")
    parser.StartElementHandler = parser.StartDoctypeDeclHandler = stop
    try:
        with path.open("rb") as file:
            parser.Parse(file.read(ROOT_BYTES), False)
    except OSError:
        return None
    except (_Stop, expat.ExpatError, ValueError, LookupError):
        return found[0] if found else ""
    return ""


def number(text: str | None) -> float:
    """Return the number a text says, NaN if it says none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def whole_size(width: str | None, height: str | None) -> tuple[int, int]:
    """Return the written (width, height) in pixels, 0 for what is no sensible number."""
    values = (number(width), number(height))
    return tuple(int(value) if 0 < value < 1e6 else 0 for value in values)  # type: ignore[return-value]


def pixel_corners(image: LabelledImage) -> list[list[str]]:
    """Return x1 y1 x2 y2 in pixels of each box of `image` as texts: ten digits, whole numbers without a point."""
    size = (image.width, image.height)
    corners = clip_xyxy(cxcywhn_to_xyxy(image.annotation.boxes_cxcywhn, *size), *size)
    return [[str(tidy(value)) for value in box] for box in corners.tolist()]


def text_tag(tag: str, text: object) -> str:
    """Return `<tag>text</tag>`; raises InputError for text that XML cannot hold."""
    return f"<{tag}>{escape(_legal(str(text)))}</{tag}>"


def open_tag(tag: str, attributes: Iterable[tuple[str, object]]) -> str:
    """Return `<tag name="value" ...`, without the closing bracket; raises InputError as `text_tag` does."""
    return " ".join([f"<{tag}", *(f"{key}={quoteattr(_legal(str(value)))}" for key, value in attributes)])


def _legal(text: str) -> str:
    wrong = next((char for char in text if breaks_line(char) or char in "\ufffe\uffff"), None)
    if wrong is None:
        return text
    shown = "".join("?" if breaks_line(char) else char for char in text[:80])
    raise InputError(f"'{shown}': the character U+{ord(wrong):04X} has no place in a name; rename it")
