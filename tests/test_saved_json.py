"""Saved JSON is read back, and what cannot be read says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.files import read_saved_json


def test_an_object_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"größe": [1, null]}', encoding="utf-8")
    assert read_saved_json(tmp_path / "a.json") == {"größe": [1, None]}


@pytest.mark.parametrize("content", [b"", b'{"torn": ', b"[1]", b"\xff\xfe", None])
def test_what_is_missing_torn_or_no_object_says_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    assert read_saved_json(tmp_path / "a.json") == {}
