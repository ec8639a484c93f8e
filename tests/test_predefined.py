"""User-made splits: list files and path prefixes, and what is wrong with them by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_raw_set import make_raw_set, run_prepare

from data_utils.errors import InputError
from data_utils.splits.predefined import column_split, predefined_split
from data_utils.splits.search import SplitItem


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


def test_lists_of_prepared_copies_and_of_absolute_raw_paths(raw: Path) -> None:
    (raw / "train.txt").write_text(
        f"{raw}/img/s1/0.jpg\n/elsewhere/processed/lr/images/s1_1.png\nC:\\data\\lr\\images\\s2_1.jpg\n"
    )
    entries = {"train": ("train.txt",), "val": ("val.txt",), "test": ("img/s3/",)}
    split, _ = predefined_split(sequence_items(), entries, raw)
    assert [item.stem for item in split["train"]] == ["s1_0", "s1_1", "s2_1"]
    for wrong in ("/elsewhere/lr/images/0.jpg", "/elsewhere/img/s1/0.jpg"):
        (raw / "train.txt").write_text(wrong)
        with pytest.raises(InputError, match=r"train\.txt:1: .*no raw frame has that name"):
            predefined_split(sequence_items(), entries, raw)


def test_a_column_of_the_metadata(tmp_path: Path) -> None:
    metadata = tmp_path / "metadata.csv"
    lines = ["img/s1/0.jpg,train", "img\\s1\\1.jpg,train", "s2/0.jpg,val", "s2/1.jpg,", "img/s3/0,test", "gone.jpg,val"]
    metadata.write_text("filename,fold,patient_id,dataset_source\n"
                        + "".join(f"{line},p{k},S\n" for k, line in enumerate(lines)))  # fmt: skip
    items = [item for item in sequence_items() if item.stem != "s1_1"]
    items[-2] = SplitItem("0", "0.jpg", "p", "p/s3")
    items[-1] = SplitItem("s3_9", "img/s3/9.jpg", "p", "p/s3")
    with pytest.raises(InputError, match=r"metadata\.csv:1: column split is missing"):
        column_split(items, metadata, "split")
    split, notes = column_split(items, metadata, "fold", [("s1_1", "img/s1/1.jpg")])
    assert {part: [item.stem for item in items] for part, items in split.items()} == {
        "train": ["s1_0"], "val": ["s2_0"], "test": [],
    }  # fmt: skip
    assert notes == [
        "3 prepared frames are in no part of dataset.split.column = fold",
        "1 frames dataset.split.column = fold lists were excluded",
    ]
    metadata.write_text(metadata.read_text().replace(",val", ",validation"))
    with pytest.raises(
        InputError, match=r"metadata\.csv:4: fold = 'validation', allowed: train, val, test, or nothing"
    ):
        column_split(items, metadata, "fold")


def test_prepare_takes_a_column_and_refuses_what_contradicts_it(tmp_path: Path) -> None:
    raw = make_raw_set(tmp_path / "raw")
    metadata = raw / "metadata.csv"
    parts = {"P0": "train", "P1": "train", "P2": "train", "P3": "val", "P4": "test", "P5": ""}
    header, *lines = metadata.read_text().splitlines()
    rows = [f"{line},{parts[line.split(',')[1]]}" for line in lines]
    metadata.write_text("\n".join([f"{header},split", *rows]))
    column = ["dataset.split.column=split", "dataset.split.n_splits=1"]
    report = run_prepare(raw, *column)
    assert [(row["part"], row["patients"], row["frames"]) for row in report.split_rows] == [
        ("train", 3, 6), ("val", 1, 2), ("test", 1, 2),
    ]  # fmt: skip
    assert "2 prepared frames are in no part of dataset.split.column = split" in report.notes
    with pytest.raises(InputError, match="n_splits = 3: a column split is one"):
        run_prepare(raw, column[0])
    with pytest.raises(InputError, match="predefined and column both"):
        run_prepare(raw, *column, "dataset.split.predefined={train: [a/]}")
    with pytest.raises(InputError, match=r"dataset\.metadata = null"):
        run_prepare(raw, *column, "dataset.metadata=null", "dataset.group=image")
    metadata.write_text("\n".join([f"{header},split", *rows]).replace("P0,S1,NBI,train", "P0,S1,NBI,val", 1))
    with pytest.raises(InputError, match=r"patient #[0-9a-f]{8} is in (train and in val|val and in train)"):
        run_prepare(raw, *column)


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
