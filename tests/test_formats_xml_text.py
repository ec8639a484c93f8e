"""Safe XML: lines, refusals, large and deep files, and what may be written."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.formats.labels import LabelledImage
from data_utils.formats.markup import (
    XmlElement,
    number,
    open_tag,
    parse_xml,
    pixel_corners,
    root_tag,
    text_tag,
    whole_size,
)
from data_utils.records import Annotation

HERE = Path("a.xml")


def test_elements_know_their_lines() -> None:
    root = parse_xml(HERE, b'<a>\n<b>text</b>\n\n<c x="1"/>tail</a>')
    lines = [(element.tag, element.line) for element in root.iter() if isinstance(element, XmlElement)]
    assert lines == [("a", 1), ("b", 2), ("c", 4)]
    assert (root.findtext("b"), root[1].get("x"), root[1].tail) == ("text", "1", "tail")


def test_children_are_handed_over_one_by_one_and_dropped() -> None:
    seen: list[tuple[str, int, int]] = []
    root = parse_xml(HERE, b"<a><b><c/><c/></b>\n<d/></a>", lambda e: seen.append((e.tag, e.line, len(e))))
    assert seen == [("b", 1, 2), ("d", 2, 0)]
    assert (root.tag, len(root)) == ("a", 0)


ENTITIES = '<!DOCTYPE a [<!ENTITY a0 "lol">' + "".join(
    f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
) + "]><a>&a11;</a>"  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ENTITIES.encode(), "a.xml:1: a DOCTYPE is not accepted"),
        (ENTITIES.encode("utf-16"), "a.xml:1: a DOCTYPE is not accepted"),
        (b'\n<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "a.xml:2: a DOCTYPE"),
        (b"<a>\n&undefined;</a>", "a.xml:2: not well-formed"),
        (b"<a>\n\n</b>", "a.xml:3: not well-formed"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "a.xml:1: unknown encoding"),
        (b'<?xml version="1.0" encoding="gb18030"?><a/>', "a.xml:1: multi-byte encodings"),
        (b"", "a.xml:1: not well-formed"),
        (b"\x00\x01binary", "a.xml:1: not well-formed"),
    ],
)
def test_hostile_and_broken_text_is_refused_at_once(data: bytes, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(InputError) as error:
        parse_xml(HERE, data)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 1


def test_deep_nesting_does_no_harm() -> None:
    depth = 50_000
    assert parse_xml(HERE, b"<a>" * depth + b"</a>" * depth).tag == "a"


@pytest.mark.parametrize(
    ("data", "tag"),
    [
        (b'<?xml version="1.0"?><!-- x --><annotations a="1"><broken', "annotations"),
        ('<?xml version="1.0" encoding="utf-16"?><annotations/>'.encode("utf-16"), "annotations"),
        (ENTITIES.encode(), "a"),
        (b"<ns:a xmlns:ns='http://x'/>", "http://x}a"),
        (b"no xml", ""),
        (b"", ""),
        (b"<!--" + b"x" * 200_000, ""),
    ],
)
def test_root_tag_looks_at_the_start_alone(tmp_path: Path, data: bytes, tag: str) -> None:
    (tmp_path / "a.xml").write_bytes(data)
    assert root_tag(tmp_path / "a.xml") == tag


def test_root_tag_of_what_cannot_be_read(tmp_path: Path) -> None:
    assert root_tag(tmp_path) is None
    assert root_tag(tmp_path / "absent.xml") is None


def test_numbers_and_sizes() -> None:
    assert number(" 2e1 ") == 20
    assert all(np.isnan(number(text)) for text in (None, "", "four"))
    assert whole_size("40", "20.0") == (40, 20)
    assert whole_size(None, "-3") == whole_size("nan", "1e300") == (0, 0)


def test_corners_are_written_short_and_exact() -> None:
    boxes = np.array([[0.2, 0.3, 0.2, 0.4], [1 / 3, 0.5, 0.1, 1.0]])
    image = LabelledImage("a.png", 40, 20, Annotation(boxes, np.array([0, 0])))
    assert pixel_corners(image) == [["4", "2", "12", "10"], ["11.33333333", "0", "15.33333333", "20"]]


def test_what_xml_cannot_hold_is_refused() -> None:
    assert text_tag("name", "a < b & ü") == "<name>a &lt; b &amp; ü</name>"
    assert open_tag("box", [("label", 'say "ä"'), ("id", 3)]) == "<box label='say \"ä\"' id=\"3\""
    for text in ("bell \x07", "line\nbreak", "half \ud800", "\uffff"):
        with pytest.raises(InputError, match=r"U\+.*rename it"):
            text_tag("name", text)


@given(st.text(max_size=20))
@settings(max_examples=100)
def test_what_is_written_is_read_back(text: str) -> None:
    with contextlib.suppress(InputError):
        written = f"{open_tag('a', [('x', text)])}>{text_tag('b', text)}</a>"
        root = parse_xml(HERE, written.encode())
        assert (root.get("x"), root.findtext("b")) == (text, text)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=150)
def test_random_bytes_raise_input_errors_only(data: bytes, wrapped: bool) -> None:
    with contextlib.suppress(InputError):
        parse_xml(HERE, b"<a>" + data + b"</a>" if wrapped else data)
