"""Damaged, misplaced or unknown label files stop a set from being read as healthy frames."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from raw_samples import raw_folder, read

from data_utils.errors import InputError

HEALTHY = {"allow_background": True, "group": "image", "metadata": None}


def healthy(tmp_path: Path) -> Path:
    """Frames without any label, which may be taken as healthy."""
    return raw_folder(tmp_path / "raw", {"a.png": None, "b.png": None})


def test_frames_without_anything_else_are_healthy(tmp_path: Path) -> None:
    raw = healthy(tmp_path)
    (raw / "readme.txt").write_text("who made this")
    (raw / ".hidden.json").write_text("{")
    assert read(raw, **HEALTHY).counts["negative frames"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("instances.json", b'{"images":[{"id":1,"file_n', r"instances\.json:1: "),
        ("annotations/val.json", b'{"images": [], "anotations": []}', r"val\.json: has \['images'\], yet is no whole"),
        ("deep/er/instances.json", b'{"images": [], "annotations": [], "categories": []}', "yet is no whole"),
        ("annotations.xml", b"", r"annotations\.xml"),
        ("task.xml", b"<annotations><image", r"task\.xml:1: "),
        ("task.xml", b"<other/>", r"task\.xml: the only thing like labels here, but of no known format"),
        ("export.zip", b"PK\3\4", r"export\.zip: a zip beside frames without labels; unpack it"),
        ("boxes/a.txt", b"0 0.5 0.5 0.1 0.1\n", r"a\.txt: has the name of .*a\.png, but was not read as its label"),
        ("images/a.json", b'{"version": "5.0.1", "sha', r"a\.json"),
    ],
)  # fmt: skip
def test_what_looks_like_labels_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = healthy(tmp_path) / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "raw", **HEALTHY)


def test_one_damaged_file_of_two_is_named(tmp_path: Path) -> None:
    raw = healthy(tmp_path)
    images = [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}]
    whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "lesion"}]}
    (raw / "train.json").write_text(json.dumps(whole))
    (raw / "val.json").write_text(json.dumps(whole).replace("a.png", "b.png")[:60])
    with pytest.raises(InputError, match=r"val\.json"):
        read(raw, **HEALTHY)


def test_a_label_that_is_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    raw = raw_folder(tmp_path / "raw", {"a.png": None, "b.png": "0 0.5 0.5 0.1 0.1\n"})
    os.symlink(tmp_path / "gone.txt", raw / "labels" / "a.txt")
    with pytest.raises(InputError, match=r"a\.txt: cannot be read"):
        read(raw, **HEALTHY)


def test_another_json_beside_labels_is_nobodys_business(tmp_path: Path) -> None:
    raw = raw_folder(tmp_path / "raw", {"a.png": None, "b.png": "0 0.5 0.5 0.1 0.1\n"})
    (raw / "camera.json").write_text('{"focal": 3}')
    (raw / "more.zip").write_bytes(b"")
    assert read(raw, **HEALTHY).counts["boxes"] == 1
