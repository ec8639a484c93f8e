"""User-made splits: list files and path prefixes, and what is wrong with them by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.predefined import predefined_split
from data_utils.splits import SplitItem


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "train.txt").write_text("\ufeffs1_0\r\n\r\nimg/s1/1.jpg\r\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("img/s2/0\n")
    return tmp_path


def sequence_items() -> list[SplitItem]:
    return [SplitItem(f"s{s}_{i}", f"img/s{s}/{i}.jpg", "p", f"p/s{s}") for s in (1, 2, 3) for i in (0, 1)]


def test_lists_and_prefixes(raw: Path) -> None:
    entries = {"train": ("train.txt",), "val": ("val.txt",), "test": ("img/s3/",)}
    split, notes = predefined_split(sequence_items(), entries, raw)
    assert {part: [item.stem for item in items] for part, items in split.items()} == {
        "train": ["s1_0", "s1_1"], "val": ["s2_0"], "test": ["s3_0", "s3_1"],
    }  # fmt: skip
    assert notes == ["1 prepared frames are in no part of the predefined split"]


def test_lists_as_other_systems_write_them(raw: Path) -> None:
    (raw / "train.txt").write_text("./img/s1/0.jpg\nimg\\s1\\1.jpg\nimg/s4/e\u0301.jpg\n", encoding="utf-8")
    items = [*sequence_items(), SplitItem("s4_\u00e9", "img/s4/\u00e9.jpg", "p", "p/s4")]
    entries = {"train": ("train.txt",), "val": ("val.txt",), "test": ("img/s3/",)}
    split, _ = predefined_split(items, entries, raw)
    assert [item.stem for item in split["train"]] == ["s1_0", "s1_1", "s4_\u00e9"]


def test_excluded_frames_may_be_listed(raw: Path) -> None:
    kept = [item for item in sequence_items() if item.stem != "s1_0"]
    entries = {"train": ("train.txt",), "val": ("img/s2/",), "test": ("img/s3/",)}
    split, notes = predefined_split(kept, entries, raw, [("s1_0", "img/s1/0.jpg")])
    assert [item.stem for item in split["train"]] == ["s1_1"]
    assert notes == ["1 frames the predefined split lists were excluded"]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (("img/s9/",), r"predefined\.train: no frame below .* beginning with 'img/s9/'"),
        (("gone.txt",), r"predefined\.train: .*gone\.txt is no file"),
        (("../train.txt",), r"predefined\.train: '\.\./train\.txt' must be a path below"),
        (("/etc/passwd",), r"predefined\.train: '/etc/passwd' must be a path below"),
        (("unknown.txt",), r"unknown\.txt:2: 'nobody': no raw frame has that name"),
        (("ambiguous.txt",), r"ambiguous\.txt:1: '0\.jpg': it can mean img/s1/0\.jpg or img/s2/0\.jpg"),
        (("val.txt",), r"val\.txt:1: 'img/s2/0\.jpg' is in val, and by .*val\.txt:1 in train"),
        (("img/s3/",), r"predefined\.test 'img/s3/': 'img/s3/0\.jpg' is in test, and by .*'img/s3/' in train"),
        (("binary.txt",), r"binary\.txt: not a readable UTF-8 list"),
    ],
)
def test_bad_entries_are_named(raw: Path, train: tuple[str, ...], message: str) -> None:
    (raw / "unknown.txt").write_text("s1_0\nnobody\n")
    (raw / "ambiguous.txt").write_text("0.jpg\n")
    (raw / "binary.txt").write_bytes(b"\xff\xfe")
    entries = {"train": train, "val": ("val.txt",), "test": ("img/s3/",)}
    with pytest.raises(InputError, match=message):
        predefined_split(sequence_items(), entries, raw)
