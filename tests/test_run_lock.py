"""One process in a run folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from training_processes import ended, start

from data_utils.errors import InputError
from training.run.folder import OWNER, RunLock, is_held, owner


def test_a_second_one_is_told_who_works_there(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    lock = RunLock(tmp_path)
    assert is_held(tmp_path)
    with pytest.raises(InputError, match=rf"process {os.getpid()} on .* works in this run folder"):
        RunLock(tmp_path)
    lock.release()
    lock.release()
    assert not is_held(tmp_path)
    assert not (tmp_path / OWNER).exists()
    RunLock(tmp_path).release()


def take_and_die(folder: Path) -> None:
    RunLock(folder)
    os.kill(os.getpid(), 9)


@pytest.mark.integration
def test_a_killed_owner_leaves_the_folder_free(tmp_path: Path) -> None:
    assert ended(start(take_and_die, tmp_path)) == -9
    assert "process" in owner(tmp_path)
    assert not is_held(tmp_path)
    RunLock(tmp_path).release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_torn_note_of_the_owner_is_no_traceback(tmp_path: Path, content: str) -> None:
    (tmp_path / OWNER).write_text(content)
    assert owner(tmp_path) == "another process"
