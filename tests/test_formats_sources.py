"""Which label belongs to which image, and the stems frames get."""

from __future__ import annotations

from pathlib import Path

import pytest
from raw_samples import raw_folder, read

from data_utils.errors import InputError
from data_utils.formats.labels import Findings
from data_utils.formats.sources import MAX_STEM_BYTES, pair_with_labels


def test_images_find_their_labels_beside_or_in_the_sister_folder(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"sub/a.png": "", "b.c.png": "", "none.png": None})
    (root / "images" / "beside.png").write_bytes(b"")
    (root / "images" / "beside.txt").write_text("")
    (root / "labels" / "orphan.txt").write_text("")
    (root / "preview.png").write_bytes(b"")  # images/ is there, so this is no frame
    findings = Findings()
    sources = pair_with_labels(root, ["images"], ["labels"], ".txt", findings)
    assert [(source.below_raw, source.inner, source.label) for source in sources] == [
        ("images/b.c.png", "b.c.png", root / "labels" / "b.c.txt"),
        ("images/beside.png", "beside.png", root / "images" / "beside.txt"),
        ("images/none.png", "none.png", None),
        ("images/sub/a.png", "sub/a.png", root / "labels" / "sub" / "a.txt"),
    ]
    assert findings.counts == {"label files without an image": 1}
    assert "orphan.txt" in findings.notes[0]


@pytest.mark.parametrize(
    ("suffix", "orphan", "others"),
    [(".xml", "gone.XML", {}), (".json", "gone.json", {}),
     (".txt", "gone.txt", {"list.txt": "images/a.png", "README.txt": "hi", "classes.txt": "1"})],
)  # fmt: skip
def test_labels_beside_images_that_are_not_there_are_counted(
    tmp_path: Path, suffix: str, orphan: str, others: dict[str, str]
) -> None:
    content = "0 0.5 0.5 0.1 0.1\n"
    for name, text in {"a.png": "", f"a{suffix}": content, orphan: content, **others}.items():
        (tmp_path / name).write_text(text)
    findings = Findings()
    assert [source.label for source in pair_with_labels(tmp_path, ["images"], ["labels"], suffix, findings)] == [
        tmp_path / f"a{suffix}"
    ]
    assert findings.counts == {"label files without an image": 1}
    assert findings.notes == [f"1 label files have no image: {tmp_path / orphan}"]


def test_folders_go_into_the_stem(tmp_path: Path) -> None:
    root = raw_folder(tmp_path / "my data é", {f"patient{p}/seq 1/0001.png": "" for p in (1, 2)})
    raw_set = read(root, group="image")
    assert [frame.stem for frame in raw_set.frames] == ["patient1_seq 1_0001", "patient2_seq 1_0001"]
    assert [frame.image_path for frame in raw_set.frames] == sorted(frame.image_path for frame in raw_set.frames)


@pytest.mark.parametrize(
    "names", [("a.png", "A.png"), ("a.png", "a.jpg"), ("x/a.png", "x_a.png"), ("é.png", "e\u0301.png")]
)
def test_colliding_stems_name_both_images(tmp_path: Path, names: tuple[str, str]) -> None:
    root = raw_folder(tmp_path, dict.fromkeys(names, ""))
    if len(list((root / "images").rglob("*.*g"))) < 2:
        pytest.skip("this file system keeps only one of the two names")
    with pytest.raises(InputError) as error:
        read(root, group="image")
    assert all(str(root / "images" / name) in str(error.value) for name in names)


def test_very_long_paths_get_short_distinct_stems(tmp_path: Path) -> None:
    folder = "/".join(["f" * 120] * 3)
    root = raw_folder(tmp_path, {f"{folder}/{'n' * 120}{number}.png": "" for number in (1, 2)})
    stems = [frame.stem for frame in read(root, group="image").frames]
    assert len(set(stems)) == 2
    assert all(len(stem.encode()) <= MAX_STEM_BYTES + 9 for stem in stems)


def test_a_line_break_in_a_name_is_refused_in_one_line(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a\nb.png": ""})
    with pytest.raises(InputError, match=r"a\?b\.png: a name with a line break") as error:
        read(root, group="image")
    assert "\n" not in str(error.value)


def test_exports_with_a_folder_for_each_part(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        raw_folder(tmp_path / part, {"a.png": None})
        (tmp_path / part / "labels").mkdir()
        (tmp_path / part / "labels" / "a.TXT").write_text("0 0.5 0.5 0.1 0.1")
    (tmp_path / "train" / "labels" / "orphan.txt").write_text("")
    raw_set = read(tmp_path, group="image")
    assert [(frame.stem, len(frame.annotation)) for frame in raw_set.frames] == [("train_a", 1), ("valid_a", 1)]
    assert raw_set.counts["label files without an image"] == 1


@pytest.mark.parametrize(
    ("name", "sought"), [("yolo", r"\.txt below labels/"), ("voc", r"\.xml below Annotations/")]
)
def test_a_missing_label_file_says_what_was_sought(tmp_path: Path, name: str, sought: str) -> None:
    with pytest.raises(InputError, match=rf"a\.png: no label file \({sought} or beside it\); add one"):
        read(raw_folder(tmp_path, {"a.png": None}), group="image", format=name)
