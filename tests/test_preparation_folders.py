"""The output folders: never the source, writable, roomy, one run at a time, nothing foreign touched."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from small_raw_set import (
    run_prepare,
    snapshot,
)

from data_utils.errors import InputError, ResumableError
from data_utils.prepare import folders
from data_utils.prepare.folders import locked, make_writable, remove_leftovers, strangers


def test_outputs_never_lie_in_the_source(raw: Path) -> None:
    before = snapshot(raw)
    for override in (f"dataset.processed={raw}", f"dataset.splits={raw}/splits", f"dataset.filter_log={raw}/log.csv"):
        with pytest.raises(InputError, match=f"{override.partition('=')[0]} = .* lies in the source folder"):
            run_prepare(raw, override)
    link = raw.parent / "link"
    link.symlink_to(raw)
    with pytest.raises(InputError, match="lies in the source folder"):
        run_prepare(raw, f"dataset.processed={link}/out")
    with pytest.raises(InputError, match="lies in the output folder"):
        run_prepare(raw, f"dataset.processed={raw.parent}", f"dataset.raw={raw.parent}/lr/raw")
    (raw.parent / "linked/lr").mkdir(parents=True)
    (raw.parent / "linked/lr/images").symlink_to(raw / "images")
    with pytest.raises(InputError, match=r"dataset\.processed = .*lr/images lies in the source folder"):
        run_prepare(raw, f"dataset.processed={raw.parent}/linked")
    assert snapshot(raw) == before


def test_a_raw_set_below_the_output_folder_keeps_every_file(raw: Path) -> None:
    (raw / "images" / ".tmp-mine").write_text("somebody's")
    before = snapshot(raw)
    assert run_prepare(raw, f"dataset.processed={raw.parent}").n_kept == 12
    assert snapshot(raw) == before


@pytest.mark.parametrize("key", ["raw", "processed", "splits"])
def test_a_circle_of_links_is_refused_in_one_line(raw: Path, key: str) -> None:
    (raw.parent / "circle").symlink_to("circle")
    with pytest.raises(InputError, match=r"circle: (no such folder|a file is in the way)"):
        run_prepare(raw, f"dataset.{key}={raw.parent}/circle")


def test_a_file_in_the_way_and_a_full_disk(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (raw.parent / "file").write_text("")
    with pytest.raises(InputError, match="a file is in the way"):
        run_prepare(raw, f"dataset.processed={raw.parent}/file")
    full = shutil.disk_usage(raw)._replace(free=1000)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: full)
    with pytest.raises(ResumableError, match=r"0\.00 GB free, but 12 frames need"):
        run_prepare(raw)
    assert not (raw.parent / "out/lr").exists()


def test_one_preparation_at_a_time(raw: Path) -> None:
    out = raw.parent / "out"
    out.mkdir(parents=True)
    with locked(out), pytest.raises(InputError, match="another `prepare` is at work"):
        run_prepare(raw)
    assert run_prepare(raw).n_kept == 12


def test_leftovers_go_and_strangers_are_named(tmp_path: Path) -> None:
    for name in ("lr/images/a.jpg", "lr/images/.tmp-1-2", "lr/labels/b.txt", "hr/images/a.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert not list(tmp_path.rglob(".tmp-*"))
    assert strangers(tmp_path, {"a"}) == [tmp_path / "lr/labels/b.txt"]
    assert strangers(tmp_path / "nowhere", {"a"}) == []


def test_a_folder_that_cannot_be_made_is_resumable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ResumableError, match=r"new: cannot be written \(Read-only file system\)"):
        make_writable(tmp_path / "new")
