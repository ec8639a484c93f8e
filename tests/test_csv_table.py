"""Tables as people and spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.files import read_table


def test_what_spreadsheets_write(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf a ; "b"\r\n1; "x; y"\r\n;;\r\n2;\r\n')
    path.write_bytes(path.read_bytes().replace(b";;\r\n", b";\r\n"))
    assert read_table(path, ("a", "b")) == (["a", "b"], [(2, {"a": "1", "b": "x; y"}), (4, {"a": "2", "b": ""})])
    path.write_text("a\n")
    assert read_table(path, ("a",)) == (["a"], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv:1: column a is missing; found: $"),
        (b"b\n1\n", r"t\.csv:1: column a is missing; found: b"),
        (b"a,a\n", r"t\.csv:1: column a stands twice"),
        (b"a\n1,2\n", r"t\.csv:2: more fields than columns"),
        (b'a\n\n"1\n', r"t\.csv:[34]: not a line of CSV"),
        (b"a\n\xff\n", r"t\.csv: not a readable UTF-8 text file"),
    ],
)
def test_bad_tables(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.csv", ("a",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('filename;patient_id;note;"size, cm"\na.png;P1;x;2\n', "P1"),
        ("filename\tpatient_id\na.png\tP1\n", "P1"),
        ("filename|patient_id\na.png|P1\n", "P1"),
        ('"filename","patient_id","a;b;c;d"\na.png,P1,2\n', "P1"),
        ("sep=;\r\nfilename;patient_id\r\na.png;P,1\r\n", "P,1"),
        ("sep=,\nfilename,patient_id\na.png,P1\n", "P1"),
        ("SEP=\t\nfilename\tpatient_id\na.png\tP1\n", "P1"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_separator_is_found_from_the_whole_header(tmp_path: Path, text: str, value: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    (_, row), = read_table(path, ("filename", "patient_id"))[1]
    assert (row["filename"], row["patient_id"]) == ("a.png", value)


def test_lines_are_counted_from_the_separator_line_on(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sep=;\na;b\n1;2;3\n")
    with pytest.raises(InputError, match=r"t\.csv:3: more fields than columns"):
        read_table(path, ("a",))


@given(st.binary(max_size=60))
def test_random_bytes_never_end_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_bytes(b"a,b\n" + content)
    try:
        columns, rows = read_table(path, ("a", "b"))
    except InputError:
        return
    assert columns == ["a", "b"]
    assert all(row.keys() == {"a", "b"} for _, row in rows)
