"""classes.txt: names in their order, and what is no list of names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.formats.labels import read_class_list, write_class_list


def test_names_come_in_order_without_blanks_and_marks(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffpolyp \r\n\r\n big cyst\ngröße".encode())
    assert read_class_list(path) == ("polyp", "big cyst", "größe")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\nb\na\n", r"classes\.txt:4: class 'a' stands in line 1 already"),
        (b"", r"classes\.txt: no class names"),
        (b"a\n\x00b", r"classes\.txt:2: a control character"),
        (b"\xff\xfe", r"classes\.txt: not UTF-8 text"),
    ],
)
def test_what_is_no_list_of_names(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_class_list(tmp_path / "classes.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_class_list(tmp_path / "absent.txt")


def test_names_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    for name in ("", " a", "a\nb", "a\u2028b", "\ud800"):
        with pytest.raises(InputError, match=r"cannot stand in classes\.txt"):
            write_class_list(tmp_path / "classes.txt", ["good", name])
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5, unique=True))
def test_names_are_read_back_exactly_or_refused(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("names") / "classes.txt"
    try:
        write_class_list(path, names)
    except InputError:
        assert not path.exists()
        assert any(not name or name != name.strip() or not name.isprintable() for name in names)
    else:
        assert read_class_list(path) == tuple(names)
