"""Images that a YOLO folder lists: where entries lead, and that none leads out of the raw folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import read_raw_set
from data_utils.formats.labels import Findings
from data_utils.formats.yolo import YoloIndex, listed_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def find(raw: Path, *entries: str, root: str = ".", home: str = "") -> tuple[set[str] | None, Findings]:
    findings = Findings()
    pairs = tuple(("train", entry) for entry in entries)
    index = YoloIndex(raw / home / "data.yaml", ("a",), entries=pairs, root=root)
    return listed_images(raw, [index], findings), findings


IMAGES = ("images/train/a b.jpg", "images/train/deep/c.png", "images/val/ä.jpg", "other.jpg")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("images/train", {IMAGES[0], IMAGES[1]}),
        ("./images/train/", {IMAGES[0], IMAGES[1]}),
        ("images\\train", {IMAGES[0], IMAGES[1]}),
        ("data/images/val", {IMAGES[2]}),
        ("../images/val", {IMAGES[2]}),
        (".", set(IMAGES)),
        ("other.jpg", {"other.jpg"}),
        ("{raw}/images/val", {IMAGES[2]}),
        ("{raw}/images/../images/val", {IMAGES[2]}),
    ],
)
def test_folders_and_images(tmp_path: Path, entry: str, expected: set[str]) -> None:
    touch(tmp_path, *IMAGES)
    listed, findings = find(tmp_path, entry.format(raw=tmp_path))
    assert listed == expected
    assert not findings.problems
    assert findings.counts["images that no list names, left out"] == len(IMAGES) - len(expected)


@pytest.mark.parametrize("root", [".", "./", "/data/me/set", "../datasets/set", "missing"])
def test_a_path_of_another_machine_does_not_matter(tmp_path: Path, root: str) -> None:
    touch(tmp_path, *IMAGES)
    assert find(tmp_path, "images/val", root=root)[0] == {IMAGES[2]}


def test_a_path_below_raw_comes_first(tmp_path: Path) -> None:
    touch(tmp_path, "set/images/a.jpg", "images/b.jpg")
    assert find(tmp_path, "images", root="set")[0] == {"set/images/a.jpg"}
    assert find(tmp_path, "images", home="set")[0] == {"set/images/a.jpg"}


@pytest.mark.parametrize(
    "line",
    [
        "images/val/ä.jpg", "./images/val/ä.jpg", "data/images/val/ä.jpg", "{raw}/images/val/ä.jpg",
        "images\\val\\ä.jpg", "images/val/a\u0308.jpg",
    ],
)  # fmt: skip
def test_list_files(tmp_path: Path, line: str) -> None:
    touch(tmp_path, *IMAGES)
    text = f"\ufeff{line.format(raw=tmp_path)}\r\n\r\nimages/train/a b.jpg\nimages/train/a b.jpg\n"
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    for entry in ("train.txt", "data/train.txt"):
        listed, findings = find(tmp_path, entry)
        assert listed == {IMAGES[2], IMAGES[0]}
        assert not findings.problems


def test_lines_are_relative_to_their_list_too(tmp_path: Path) -> None:
    touch(tmp_path, *IMAGES)
    (tmp_path / "images" / "list.txt").write_text("val/ä.jpg\n")
    assert find(tmp_path, "images/list.txt")[0] == {IMAGES[2]}


@pytest.mark.parametrize("line", ["../out.jpg", "{root}/out.jpg", "images/../../out.jpg", "/etc/out.jpg", "C:/out.jpg",
                                  "..\\out.jpg", "data//etc/out.jpg", "{raw}/../out.jpg"])  # fmt: skip
def test_entries_that_lead_out_are_refused(tmp_path: Path, line: str) -> None:
    raw = tmp_path / "raw"
    touch(tmp_path, "out.jpg", "raw/images/a.jpg")
    (tmp_path / "out.txt").write_text("images/a.jpg\n")
    line = line.format(root=tmp_path, raw=raw)
    (raw / "train.txt").write_text(f"images/a.jpg\n{line}\n")
    listed, findings = find(raw, "train.txt")
    assert listed == {"images/a.jpg"}
    [problem] = findings.problems
    assert f"{raw / 'train.txt'}:2: " in problem
    if not line.startswith("data/"):  # that one may mean a folder etc/ of the set
        assert "leads out of" in problem
    # As an entry of data.yaml, for a folder and for a list file.
    for entry in (line.replace("out.jpg", "elsewhere"), line.replace(".jpg", ".txt")):
        listed, findings = find(raw, entry)
        assert not listed
        assert findings.problems or findings.notes


def test_lines_without_an_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("data/obj_train_data/a.jpg\n\ndata/obj_train_data/b.jpg\n")
    listed, findings = find(tmp_path, "train.txt")
    assert listed == set()
    (problem,) = findings.problems
    assert f"{tmp_path / 'train.txt'}:1:" in problem
    assert f"{tmp_path / 'train.txt'}:3:" in problem


def test_a_few_missing_lines_are_counted_below_max_unreadable(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/{number}.jpg" for number in range(40)))
    (tmp_path / "train.txt").write_text("".join(f"images/{number}.jpg\n" for number in range(41)))
    raw_set = read(tmp_path, "train: train.txt\nnames: [lesion]\n", max_unreadable=0.05)
    assert len(raw_set.frames) == 40
    assert raw_set.counts["listed images that are not there"] == 1
    with pytest.raises(InputError, match=r"1 of 41 listed images .*train\.txt:41: 'images/40\.jpg'.*max_unreadable"):
        read(tmp_path, "train: train.txt\nnames: [lesion]\n", max_unreadable=0.01)


def test_a_data_yaml_of_which_a_part_is_there_is_an_error_naming_what_is_not(tmp_path: Path) -> None:
    touch(tmp_path, *IMAGES)
    (tmp_path / "few.txt").write_text("")
    with pytest.raises(InputError, match=r"data\.yaml: .*val: 'images/valid', test: 'images/tset'"):
        read(tmp_path, "train: images/train\nval: images/valid\ntest: images/tset\nnames: [lesion]\n")


def read(root: Path, data_yaml: str, **settings: object):
    (root / "data.yaml").write_text(data_yaml)
    dataset = {"raw": str(root), "nc": 1, "names": ("lesion",), "group": "image", "metadata": None}
    return read_raw_set(DatasetSection.model_validate({**dataset, "allow_background": True, **settings}))


def test_a_folder_that_is_not_there_is_a_problem_beside_one_that_is(tmp_path: Path) -> None:
    touch(tmp_path, *IMAGES)
    listed, findings = find(tmp_path, "images/train", "images/test")
    assert listed == {IMAGES[0], IMAGES[1]}
    assert any("'images/test'" in problem for problem in findings.problems)
    listed, findings = find(tmp_path, "nothing")
    assert listed is None, "then every image is a frame, as without a list"
    assert find(tmp_path)[0] is None


@given(st.text(st.sampled_from("./\\ab :\0ä"), max_size=30) | st.text(max_size=300))
@settings(max_examples=150)
def test_random_entries_lead_nowhere_else(tmp_path_factory: pytest.TempPathFactory, entry: str) -> None:
    raw = tmp_path_factory.getbasetemp() / "random lists" / "raw"
    touch(raw.parent, "raw/images/a.jpg", "a.jpg", "raw/b.jpg")
    (raw / "train.txt").write_text(entry, encoding="utf-8", errors="replace")
    for given_entry in (entry, "train.txt"):
        assert (find(raw, given_entry)[0] or set()) <= {"images/a.jpg", "b.jpg"}
