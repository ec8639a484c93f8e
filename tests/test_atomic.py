"""Text files are written whole or not at all, and not at all when nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_utils.files import write_csv, write_text


def test_text_is_written_as_utf8_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "ä b" / ("x" * 250)
    assert write_text(path, "zwölf\n")
    assert path.read_bytes() == b"zw\xc3\xb6lf\n"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_equal_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "same")
    os.utime(path, ns=(1, 1))
    assert not write_text(path, "same")
    assert path.stat().st_mtime_ns == 1
    assert write_text(path, "sane")
    assert path.read_text() == "sane"
    assert write_text(path, "")
    assert path.read_bytes() == b""


def test_a_failed_write_leaves_the_older_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "older")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "newer")
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_csv_quotes_what_needs_it(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ("name", "n"), [{"name": 'a,"b"\nc', "n": 1}])
    assert (tmp_path / "a.csv").read_bytes() == b'name,n\n"a,""b""\nc",1\n'
    write_csv(tmp_path / "a.csv", ("name", "n"), [])
    assert (tmp_path / "a.csv").read_text() == "name,n\n"
