"""Strict JSON: what is refused and in which line, what is accepted, and where parts stand."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.formats import markup
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


def put(folder: Path, content: bytes | str) -> Path:
    path = folder / "boxes.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_byte_order_marks_other_encodings_and_crlf_are_read(tmp_path: Path, encoding: str) -> None:
    assert read_json(put(tmp_path, '{"größe":\r\n [1, 2.5, null]}'.encode(encoding))) == {"größe": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: not JSON (Expecting value)"),
        (b'{"a": 1,\n "b": }', ":2: not JSON (Expecting value)"),
        (b'[1,\n2,\n3', ":3: not JSON"),
        (b'{"a": 1}\n{"b": 2}', ":2: not JSON (Extra data)"),
        (b'{"NaN": "NaN",\n "b": NaN}', ":2: NaN is no JSON number"),
        (b"[\n\n-Infinity]", ":3: -Infinity is no JSON number"),
        (b'{"a": {"b": 1, "b": 2}}', ": the key 'b' stands twice in one object"),
        (b"[" + b"9" * 5000 + b"]", ": holds a number of thousands of digits"),
        (b"[" * 100_000, ": nested too deeply"),
        (b'{"a":' * 100_000, ": nested too deeply"),
        (b'[1,\n"\xff\xfe"]', ":2: not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\0\0", ": not "),
    ],
)
def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = put(tmp_path, content)
    with pytest.raises(InputError) as error:
        read_json(path)
    assert f"{path}{message}" in str(error.value) or (message == ": not " and str(path) in str(error.value))
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_absent_a_folder_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_json(path)
    monkeypatch.setattr(markup, "MAX_JSON_BYTES", 10)
    assert read_json(put(tmp_path, b"[12345678]")) == [12345678]
    with pytest.raises(InputError, match=r"boxes\.json: 11 bytes, more than the 10"):
        read_json(put(tmp_path, b"[123456789]"))


def test_lists_are_found_without_parsing(tmp_path: Path) -> None:
    text = '{"images" : [], "annotations":\n[{"broken'
    assert mentions(put(tmp_path, text), ["images", "annotations"])
    assert mentions(put(tmp_path, text.encode("utf-16")), ["images", "annotations"])
    assert not mentions(put(tmp_path, text), ["images", "shapes"])
    assert not mentions(put(tmp_path, '{"images": {}}'), ["images"])
    assert not mentions(tmp_path / "absent.json", ["images"])
    assert not mentions(tmp_path, ["images"])


def test_lines_of_parts_are_those_of_the_file(tmp_path: Path) -> None:
    text = '{\n"a": [\n {"x": "]}\\"\\n"},\n\n {"x": [\n1]}\n],\r\n "b": {"c":\n 5}, "": []}'
    lines = JsonLines(put(tmp_path, text), depth=2)
    shown = {("a",): 2, ("a", 0): 3, ("a", 1): 5, ("b",): 8, ("b", "c"): 9, ("",): 9, (): 1}
    for keys, line in shown.items():
        assert lines.where(*keys) == f"{tmp_path / 'boxes.json'}:{line}"
    for keys in (("a", 2), ("a", 0, "x"), ("d",)):
        assert lines.where(*keys) == str(tmp_path / "boxes.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from([None, 0, 2]))
def test_lines_agree_with_a_marker_put_into_the_text(
    tmp_path_factory: pytest.TempPathFactory, value: object, indent: int | None
) -> None:
    """Each member of each list or object down to depth 3 is sought by writing a marker in its place."""
    folder = tmp_path_factory.getbasetemp()
    lines = JsonLines(put(folder, json.dumps(value, indent=indent)), depth=3)

    def check(part: object, keys: tuple[str | int, ...]) -> None:
        children = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, child in list(children):
            part[key] = "the marker"  # type: ignore[index]
            marked = json.dumps(value, indent=indent)
            part[key] = child  # type: ignore[index]
            line = marked[: marked.index('"the marker"')].count("\n") + 1
            assert lines.where(*keys, key) == f"{folder / 'boxes.json'}:{line}"
            if len(keys) < 2:
                check(child, (*keys, key))

    check(value, ())


def test_lines_of_a_file_that_changed_meanwhile_are_left_out(tmp_path: Path) -> None:
    path = put(tmp_path, "[1, 2]")
    lines = JsonLines(path, depth=1)
    path.write_text("[1, ")
    assert lines.where(0) == str(path)
    gone = JsonLines(path, depth=1)
    os.remove(path)
    assert gone.where(0) == str(path)


def test_places_are_spelt_when_asked() -> None:
    asked: list[int] = []
    places = LazyPlaces(3, lambda index: f"line {asked.append(index) or index}")
    assert len(places) == 3
    assert not asked
    assert (places[1], places[-1], places[1:]) == ("line 1", "line 2", ["line 1", "line 2"])
    with pytest.raises(IndexError):
        places[3]


@pytest.mark.parametrize("value", [None, "3", True, [1], math.nan, math.inf, 1e9, -(10**400)])
def test_what_is_no_pixel(value: object) -> None:
    with pytest.raises(ValueError, match=r"^xmin must be a number, found "):
        pixel(value, "xmin")
    assert [pixel(good, "xmin") for good in (0, -3, 2.5)] == [0.0, -3.0, 2.5]


def test_members_have_their_kind() -> None:
    record = {"a": [1], "b": {"c": 1}, "d": "polyp", "e": None}
    assert (member(record, "a", list), member(record, "b", dict), class_name(record, "d")) == ([1], {"c": 1}, "polyp")
    for key, kind, message in (("a", dict, r"'a' must be an object, found \[1\]"), ("e", list, "found nothing"),
                               ("f", str, "'f' must be text, found nothing")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            member(record, key, kind)
    for bad in ("", "  ", "a\nb", "\ud800"):
        with pytest.raises(ValueError, match="is no class name"):
            class_name({"name": bad}, "name")


@pytest.mark.parametrize(
    ("record", "size"),
    [
        ({"width": 40, "height": 20.0}, (40, 20)), ({"width": 40}, (0, 0)), ({"width": "40", "height": 20}, (0, 0)),
        ({"width": -4, "height": 20}, (0, 0)), ({"width": math.inf, "height": 10**30}, (0, 0)),
    ],
)  # fmt: skip
def test_the_written_size(record: dict[str, object], size: tuple[int, int]) -> None:
    assert written_size(record) == size


def test_values_in_messages_are_short_and_on_one_line() -> None:
    for value in ("x\n" * 999, [["deep"] * 99] * 99, {"k" * 999: "\u2028"}, 10**4000):
        assert len(quoted(value)) < 500
        assert len(quoted(value).splitlines()) == 1


def test_written_objects_have_a_line_for_each_part() -> None:
    value = {"images": [{"id": 1}, {"id": 2}], "none": [], "größe": None}
    text = dump_rows(value)
    assert json.loads(text) == value
    assert text.count("\n") == 8
    assert text.isascii()
    assert json.loads(dump_rows({})) == {}
    assert [tidy(each) for each in (3.0, 0.1 + 0.2, 12.25)] == [3, 0.3, 12.25]
    assert isinstance(tidy(3.0), int)
