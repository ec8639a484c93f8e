"""data.yaml, obj.names and classes.txt: what they say of classes and images, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.formats.yolo import YoloIndex, index_folders, read_indexes, write_data_yaml


def data_yaml(folder: Path, text: str) -> YoloIndex:
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    [index] = read_indexes(folder)
    return index


# What this or another reader of YAML does not read as the text it is.
ODD_NAMES = ("010", "1:30", "1e3", "yes", "No", "on", "OFF", "null", "~", "true", "2024-01-01", ".5", "0x1F", "1_000",
             ".nan", "+7", "-3", "1.5", "=")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [cyst, Polyp ä]", ("cyst", "Polyp ä")),
        ("names:\n  - cyst\n  - 'no'\n  - \"010\"\n", ("cyst", "no", "010")),
        ("names: {1: b, 0: a}", ("a", "b")),
        ("\ufeffnc: 2\r\nnames:\r\n  0: a\r\n  1: b\r\n", ("a", "b")),
        ("names: [0, 1, 7]", ("0", "1", "7")),
        ("nc: 3", None),
        ("", None),
    ],
)
def test_names(tmp_path: Path, text: str, names: tuple[str, ...] | None) -> None:
    assert data_yaml(tmp_path, text).names == names


def test_entries(tmp_path: Path) -> None:
    index = data_yaml(tmp_path, "path: .\ntrain: [images/a, ' b.txt']\nval: images/v\ntest:\nkpt_shape: [17, 3]\nx: 1")
    assert index.entries == (("train", "images/a"), ("train", "b.txt"), ("val", "images/v"))
    assert (index.root, index.has_keypoints) == (".", True)
    assert data_yaml(tmp_path, "nc: 2").nc == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, a]", "class names must be distinct and not empty, found ['a', 'a']"),
        ("names: []", "distinct and not empty"),
        ("names: [a, ' ']", "distinct and not empty"),
        ("names: [a, [b]]", "names must be words"),
        ("names: [a, true]", "names must be words"),
        ("names: [a, 1.5]", "names must be words"),
        (f"names: [a, 0x{'f' * 5000}]", "names must be words"),
        *((f"# names\nnames: [a, {word}]", f"takes {word} for something else; put it in quotes: '{word}'")
          for word in ODD_NAMES),
        *((f"names:\n  0: a\n  1: {word}", "data.yaml:3: class names must be words") for word in ODD_NAMES),
        (f"nc: 0x{'f' * 5000}", "nc must be a number"),
        ('names: ["a\\nb"]', "names must be words"),
        ("names: {0: a, 2: b}", "numbered 0, 1, 2"),
        ("names: {a: 0}", "numbered 0, 1, 2"),
        ("names: {false: a, 1: b}", "numbered 0, 1, 2"),
        ("names: cyst", "names must be a list"),
        ("nc: 3\nnames: [a, b]", "nc = 3, but names lists 2: ['a', 'b']"),
        ("nc: two", "nc must be a number"),
        ("path: [a]", "path must be text"),
        ("train: {a: b}", "train must be a folder"),
        ("val: [1]", "val must be a folder"),
        ("names: [a\n", ":2: not valid YAML"),
        ("a: &x [1]\nb: *x", ":2: YAML aliases (*name) are not accepted"),
        ("names: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("- a", "expected 'key: value' lines"),
        ("names: " + "[" * 20_000, "nested too deeply"),
        ("x: " + "9" * 300_000, "too large for a data.yaml"),
    ],
)
def test_what_is_refused_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    started = time.monotonic()
    with pytest.raises(InputError) as error:
        data_yaml(tmp_path, text)
    assert str(tmp_path / "data.yaml") in str(error.value)
    assert message in str(error.value)
    assert time.monotonic() - started < 10


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    started = time.monotonic()
    with pytest.raises(InputError, match=r"data\.yaml:2: YAML aliases"):
        data_yaml(tmp_path, "\n".join([*lines, "names: *a11"]))
    assert time.monotonic() - started < 5


def test_files_are_taken_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("from classes\n")
    assert [index.names for index in read_indexes(tmp_path)] == [("from classes",)]
    (tmp_path / "obj.names").write_bytes(b"\xef\xbb\xbffrom obj\r\nsecond\r\n\r\n")
    assert [index.names for index in read_indexes(tmp_path)] == [("from obj", "second")]
    for name in ("data.yml", "dataset.yaml", "data.yaml"):
        (tmp_path / name).write_text(f"names: [{name}]")
        assert [index.names for index in read_indexes(tmp_path)] == [(name,)]


def test_each_folder_has_its_own(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "classes.txt").write_text(name)
    assert index_folders(tmp_path) == [tmp_path, tmp_path / "a", tmp_path / "b"]
    assert [index.names for index in read_indexes(tmp_path)] == [("a",), ("b",)]


def test_darknet_files(tmp_path: Path) -> None:
    (tmp_path / "obj.names").write_text("cyst\nPolyp\n")
    (tmp_path / "train.txt").write_text("")
    assert read_indexes(tmp_path)[0].entries == (("train.txt", "train.txt"),)
    data = tmp_path / "obj.data"
    data.write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    [index] = read_indexes(tmp_path)
    assert (index.names, index.entries) == (("cyst", "Polyp"), (("train", "data/train.txt"),))
    data.write_text("classes = 3\n")
    with pytest.raises(InputError, match=r"obj\.data: classes = 3, but obj\.names lists 2: \['cyst', 'Polyp'\]"):
        read_indexes(tmp_path)
    data.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"obj\.data: not UTF-8"):
        read_indexes(tmp_path)


words = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=8).filter(str.strip)
AWKWARD = ["no", "1e-3", "~", "null", "a: b", "- a", "'", '"', "#x", "*a", "&b", "0x1F", "2020-01-01", " lead", "😀"]


@given(st.lists(st.sampled_from(AWKWARD) | words, min_size=1, max_size=8, unique=True))
@settings(max_examples=60)
def test_written_names_come_back(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp() / "written yaml"
    write_data_yaml(folder / "data.yaml", names)
    [index] = read_indexes(folder)
    assert index.names == tuple(names)
    assert index.entries == (("train", "images"),)


YAML = "path: .\ntrain: images/train\nval: [a, b]\nnc: 2\nnames:\n  0: cyst\n  1: 'Polyp'\n"


@pytest.mark.parametrize("name", ["data.yaml", "obj.names", "obj.data", "classes.txt"])
@given(
    edits=st.lists(st.tuples(st.integers(0, len(YAML) - 1), st.text(max_size=3)), max_size=4),
    data=st.none() | st.binary(max_size=60),
)
@settings(max_examples=80)
def test_random_files_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[int, str]], data: bytes | None
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"random {name}"
    folder.mkdir(exist_ok=True)
    if name == "obj.data":
        (folder / "obj.names").write_text("cyst\nPolyp\n")
    text = YAML
    for position, inserted in edits:
        text = text[:position] + inserted + text[position + len(inserted) :]
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass") if data is None else data)
    message = name
    try:
        read_indexes(folder)
    except InputError as error:
        message = str(error)
    assert name in message


def test_subsets_are_read_in_whatever_case_they_are_written(tmp_path: Path) -> None:
    index = data_yaml(tmp_path, "train: images/a\nValidation: images/b\n")
    assert index.entries == (("train", "images/a"), ("Validation", "images/b"))
    folder = tmp_path / "darknet"
    folder.mkdir()
    (folder / "obj.names").write_text("a\n")
    (folder / "obj.data").write_text(
        "classes = 1\nnames = data/obj.names\ntrain = data/train.txt\nValidation = data/Validation.txt\nbackup = b/\n"
    )
    [index] = read_indexes(folder)
    assert [entry for _, entry in index.entries] == ["data/train.txt", "data/Validation.txt"]
