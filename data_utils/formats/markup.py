"""JSON files of other people, read strictly and within bounds; what messages say of them; and how ours are written.

Beyond what Python's parser refuses, NaN, Infinity and keys that stand twice in one object are errors. A byte order
mark, UTF-16 and CRLF are accepted.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from data_utils.errors import InputError
from data_utils.formats.labels import LabelledImage, breaks_line
from data_utils.records import clip_xyxy, cxcywhn_to_xyxy

MAX_JSON_BYTES = 1 << 28  # 256 MiB; ten times the largest annotation file of the sets this project is for
LARGEST_PIXEL = 1e9  # a coordinate beyond it is no pixel; also keeps NaN and infinity out
SHOWN_CHARS = 60  # of a value in a message

_BLANK = re.compile(r"[ \t\r\n]*")
_CONSTANT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(NaN|-?Infinity)')  # strings too, so that these are skipped


class _Refused(ValueError):
    """JSON that Python would take and this project does not."""


def read_json(path: str | Path) -> Any:
    """Read the JSON file at `path`.

    Raises InputError, naming the file and for errors of syntax the line, if it cannot be read, is larger than
    MAX_JSON_BYTES, is no text, no standard JSON, or nested too deeply.
    """
    text = _read_text(Path(path))
    try:
        return json.loads(text, object_pairs_hook=_distinct_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}); export it again") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply for a label file; export it again") from None
    except _Refused as error:
        constant = next((match for match in _CONSTANT.finditer(text) if match[1]), None)
        line = f":{text.count(chr(10), 0, constant.start()) + 1}" if constant and constant[1] in str(error) else ""
        raise InputError(f"{path}{line}: {error}; export it again") from None
    except ValueError:  # Python's own limit on the digits of an integer
        raise InputError(f"{path}: holds a number of thousands of digits; export it again") from None


def mentions(path: Path, keys: Sequence[str], opening: str = "[") -> bool:
    """Whether each of `keys` stands in the file before a list, or before `opening`; never raises, parses nothing."""
    try:
        data = path.read_bytes() if 0 < path.stat().st_size <= MAX_JSON_BYTES else b""
    except OSError:
        return False
    if b"\0" in data[:4]:
        data = data.replace(b"\0", b"")  # UTF-16: ASCII is left
    quotes = (re.escape(f'"{key}"'.encode()) for key in keys)
    return all(re.search(key + rb"\s*:\s*" + re.escape(opening.encode()), data) for key in quotes)


def quoted(value: object) -> str:
    """Return `value` as messages show it: shortened, on one line."""
    return _Short().repr(value)


def pixel(value: object, what: str) -> float:
    """Return a coordinate; raises ValueError naming `what` for anything but a number of sensible size."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST_PIXEL:
        raise ValueError(f"{what} must be a number, found {quoted(value)}")
    return float(value)


def member(record: Mapping[str, Any], key: str, kind: type) -> Any:
    """Return `record[key]`, which must be a `kind` (list, dict, str); raises ValueError naming key and value."""
    value = record.get(key)
    if not isinstance(value, kind):
        names = {list: "a list", dict: "an object", str: "text"}
        raise ValueError(f"'{key}' must be {names[kind]}, found {'nothing' if value is None else quoted(value)}")
    return value


def class_name(record: Mapping[str, Any], key: str) -> str:
    """Return the class name at `key`; raises ValueError unless it is text on one line that is not blank."""
    name = member(record, key, str)
    if not name.strip() or any(map(breaks_line, name)):
        raise ValueError(f"{quoted(name)} is no class name")
    return name


def written_size(record: Mapping[str, Any], width_key: str = "width", height_key: str = "height") -> tuple[int, int]:
    """Return the (width, height) in pixels that a record gives its image, (0, 0) where it gives none of use."""
    values = [record.get(key) for key in (width_key, height_key)]
    width, height = (int(v) if isinstance(v, int | float) and 0 < v < 1e6 else 0 for v in values)
    return (width, height) if width and height else (0, 0)


class JsonLines:
    """Where the parts of a JSON file begin. The file is read again for it, and only when a message asks.

    depth: how many keys deep parts are told apart; ("annotations", 3) has depth 2.
    """

    def __init__(self, path: Path, depth: int) -> None:
        self.path, self._depth = path, depth

    def where(self, *keys: str | int) -> str:
        """Return "file:line" of the part at `keys` (names and list positions), or "file" where it is not found."""
        line = self._lines.get(keys)
        return str(self.path) if line is None else f"{self.path}:{line}"

    @cached_property
    def _lines(self) -> dict[tuple[str | int, ...], int]:
        lines: dict[tuple[str | int, ...], int] = {}
        try:
            _Walk(_read_text(self.path), lines).visit(0, (), self._depth)
        except (ValueError, IndexError, RecursionError):
            lines.clear()  # changed since it was read
        return lines


class LazyPlaces(Sequence[str]):
    """The places of N boxes, each spelt only when a message needs it."""

    def __init__(self, count: int, spell: Callable[[int], str]) -> None:
        self._count, self._spell = count, spell

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self._spell(i) for i in range(self._count)[index]]
        return self._spell(range(self._count)[index])


def tidy(value: float) -> float | int:
    """Return a coordinate in pixels as it is written: ten significant digits, whole numbers without a point."""
    short = float(f"{value:.10g}")
    return int(short) if short.is_integer() else short


def dump_rows(value: Mapping[str, Any]) -> str:
    """Return an object as JSON with a line for each member, and for each element of a member that is a list."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_rows(part)}" for key, part in value.items()) + "\n}\n"


def _rows(part: object) -> str:
    if not isinstance(part, list) or not part:
        return json.dumps(part)
    return "[\n" + ",\n".join(json.dumps(element) for element in part) + "\n]"


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxlong = self.maxother = SHOWN_CHARS


class _Walk:
    """Goes through valid JSON text and records the line each part begins in."""

    def __init__(self, text: str, lines: dict[tuple[str | int, ...], int]) -> None:
        self._text, self._lines = text, lines
        self._line, self._counted = 1, 0
        self._skip_value = json.JSONDecoder().raw_decode

    def visit(self, position: int, keys: tuple[str | int, ...], depth: int) -> int:
        """Record the value at `position` and, `depth` levels down, those inside; return where it ends."""
        position = self._after_blanks(position)
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        self._lines[keys] = self._line
        opening = self._text[position]
        if depth == 0 or opening not in "[{":
            return self._skip_value(self._text, position)[1]
        position, index = self._after_blanks(position + 1), 0
        while self._text[position] not in "]}":
            key: str | int = index
            if opening == "{":
                key, position = self._skip_value(self._text, position)
                position = self._after_blanks(position) + 1  # the colon
            position = self._after_blanks(self.visit(position, (*keys, key), depth - 1))
            if self._text[position] == ",":
                position = self._after_blanks(position + 1)
            index += 1
        return position + 1

    def _after_blanks(self, position: int) -> int:
        match = _BLANK.match(self._text, position)
        return match.end() if match else position


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise InputError(f"{path}: {size} bytes, more than the {MAX_JSON_BYTES} a label file may have; split it")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not {encoding.upper()} text; export it again") from None


def _distinct_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, part in pairs:
        if key in value:
            raise _Refused(f"the key {quoted(key)} stands twice in one object")
        value[key] = part
    return value


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"{name} is no JSON number")


# What the XML formats share: safe parsing that keeps line numbers, reading numbers, and writing.
#
# Document types are refused, because entity bombs and file inclusion need one. Nothing is ever fetched.


ROOT_BYTES = 1 << 16  # the root element stands within these, or the file is something else


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
