"""The folder a conversion writes is whole or absent, and nothing of a user's is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.convert.steps import MARKER, TargetFolder, file_marks
from data_utils.errors import InputError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def write(target: Path, source: Path, text: str = "label", overwrite: bool = False) -> None:
    with TargetFolder(target, source, overwrite) as folder:
        (folder.building / "labels").mkdir()
        (folder.building / "labels/a.txt").write_text(text)
        (folder.building / "a.png").write_bytes(text.encode())
        folder.finish({"to": "yolo"})


def left(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_target_appears_whole(tmp_path: Path, source: Path) -> None:
    write(tmp_path / "a" / ("x" * 250), source)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", source)
    assert left(tmp_path / "empty") == [MARKER, "a.png", "labels/a.txt"]
    assert file_marks(tmp_path / "empty").keys() == {"a.png", "labels/a.txt"}


def test_a_failure_leaves_nothing(tmp_path: Path, source: Path) -> None:
    def interrupted() -> None:
        with TargetFolder(tmp_path / "out", source, False) as folder:
            (folder.building / "half.txt").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_only_what_the_command_wrote_and_nobody_changed_is_replaced(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    write(out, source)
    with pytest.raises(InputError, match="is there already; choose another folder, or --overwrite"):
        write(out, source, "new")
    write(out, source, "new", overwrite=True)
    assert (out / "labels/a.txt").read_text() == "new"
    (out / "labels/a.txt").write_text("won")
    with pytest.raises(InputError, match=r"1 files changed since they were written, the first is labels/a\.txt"):
        write(out, source, overwrite=True)
    (out / "labels/a.txt").write_text("new")
    (out / "mine.txt").touch()
    with pytest.raises(InputError, match=r"the first is mine\.txt"):
        write(out, source, overwrite=True)
    (out / "mine.txt").unlink()
    write(out, source, "third", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


@pytest.mark.parametrize("marker", [None, "", "[]", '{"files": 3}', "\x00"])
def test_a_strangers_folder_is_never_replaced(tmp_path: Path, source: Path, marker: str | None) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/photo.jpg").touch()
    if marker is not None:
        (tmp_path / "out" / MARKER).write_text(marker)
    with pytest.raises(InputError, match="was not written by this command"):
        write(tmp_path / "out", source, overwrite=True)
    assert (tmp_path / "out/photo.jpg").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is there already"):
        write(tmp_path / "file", source)


def test_source_and_target_must_lie_apart(tmp_path: Path, source: Path) -> None:
    (source / "images").mkdir()
    (tmp_path / "link").symlink_to(source)
    for target in (source, source / "out", tmp_path, tmp_path / "link" / "out", source / "images" / ".."):
        with pytest.raises(InputError, match="the source is never written"):
            TargetFolder(target, source, True)


def test_what_killed_runs_left_is_mended(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    write(out, source, "old")
    folder = TargetFolder(out, source, True)
    folder.__enter__()  # killed here
    (folder.building / "half.txt").touch()
    out.rename(folder._old)  # or between the last two renames
    with pytest.raises(InputError, match="is there already"):
        TargetFolder(out, source, False)
    assert (out / "labels/a.txt").read_text() == "old"
    write(out, source, "new", overwrite=True)
    assert left(out) == [MARKER, "a.png", "labels/a.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]
    folder.__exit__()  # for the signal handler alone, which a killed process takes along
