"""Tables as people and spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.csv_table import read_table
from data_utils.errors import InputError


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
        (b"", r"t\.csv:1: needs the columns a, each column once; found: $"),
        (b"b\n1\n", r"t\.csv:1: needs the columns a, .*found: b"),
        (b"a,a\n", r"t\.csv:1: .*found: a, a"),
        (b"a\n1,2\n", r"t\.csv:2: more fields than columns"),
        (b'a\n\n"1\n', r"t\.csv:[34]: not a line of CSV"),
        (b"a\n\xff\n", r"t\.csv: not a readable UTF-8 text file"),
    ],
)
def test_bad_tables(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.csv", ("a",))


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
