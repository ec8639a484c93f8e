"""What --source may name."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.errors import InputError
from deployment.inference import find_sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.JPG", "a.png", "sub dir é/c.tif", "clip.mp4", "notes.txt", ".hidden.jpg", "out/b.jpg", "1"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(paths: tuple[Path, ...], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_is_searched_to_its_depth_without_earlier_results(folder: Path):
    found = find_sources(str(folder), results=folder / "out")
    assert names(found.images, folder) == ["a.png", "b.JPG", "sub dir é/c.tif"]
    assert names(found.videos, folder) == ["clip.mp4"]
    assert found.root == folder
    assert found.ignored == 3  # notes, the earlier result, the file without an ending


def test_a_pattern(folder: Path):
    found = find_sources(str(folder / "**" / "*.[jJ]*"), results=folder / "out")
    assert names(found.images, found.root) == ["b.JPG"]
    found = find_sources(str(folder / "s*" / "*.tif"))
    assert (found.root, names(found.images, found.root)) == (folder, ["sub dir é/c.tif"])


def test_a_relative_pattern(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    found = find_sources("*.png")
    assert names(found.images, found.root) == ["a.png"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path):
    path = tmp_path / "frame[1].png"
    path.touch()
    assert find_sources(str(path)).images == (path,)


def test_a_number_is_a_camera_unless_a_file_has_that_name(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert find_sources("0").camera == 0
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="neither an image"):
        find_sources("1")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("absent.jpg", "no such file"),
        ("empty", r"holds no image or video \(0 files"),
        ("*.gif", r"holds no image or video \(0 files"),
        ("out", r"holds no image or video \(1 files found, 1 of them below the output folder"),
        ("notes.txt", r"'\.txt' is neither an image"),
    ],
)
def test_what_names_nothing_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, reason: str):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=reason) as caught:
        find_sources(source, results=Path("out"))
    assert "\n" not in str(caught.value)


def test_an_empty_source_is_not_the_working_folder():
    with pytest.raises(InputError, match="--source is empty"):
        find_sources("")
