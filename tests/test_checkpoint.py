"""A run's state on disk: rotation, verification, generators."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from data_utils.errors import InputError
from models.checkpoint import read_checkpoint, write_checkpoint
from training.run import state as checkpoint
from training.run.state import finish_save, newest_checkpoint, random_state, restore_random_state, save_last


def test_the_two_before_the_last_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 6):
        save_last(tmp_path, {"epoch": epoch})
    kept = {path.name: read_checkpoint(path)["epoch"] for path in tmp_path.iterdir()}
    assert kept == {"last.pt": 5, "last.1.pt": 4, "last.2.pt": 3}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_torn_last_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    for epoch in (1, 2):
        save_last(tmp_path, {"epoch": epoch, "tensor": torch.ones(100)})
    content = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(content[: int(share * len(content))])
    path, state = newest_checkpoint(tmp_path)
    assert path.name == "last.1.pt"
    assert state["epoch"] == 1
    warning = capsys.readouterr().err
    assert "last.pt: not a PyTorch weights file" in warning
    assert "last.1.pt, epoch 1" in warning


def test_a_failed_save_leaves_the_last_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_last(tmp_path, {"epoch": 1})

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "read_checkpoint", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_last(tmp_path, {"epoch": 2})
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert newest_checkpoint(tmp_path)[1]["epoch"] == 1


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_save_that_was_cut_off_is_finished(tmp_path: Path, moved: int) -> None:
    for epoch in (1, 2, 3):
        save_last(tmp_path, {"epoch": epoch})
    write_checkpoint(tmp_path / "last.new.pt", {"epoch": 4})
    for newer, older in [("last.1.pt", "last.2.pt"), ("last.pt", "last.1.pt")][:moved]:
        (tmp_path / newer).replace(tmp_path / older)
    finish_save(tmp_path)
    assert {path.name: read_checkpoint(path)["epoch"] for path in tmp_path.iterdir()} == {
        "last.pt": 4, "last.1.pt": 3, "last.2.pt": 2,
    }  # fmt: skip
    (tmp_path / "last.new.pt").write_bytes(b"torn")
    finish_save(tmp_path)
    assert newest_checkpoint(tmp_path)[1]["epoch"] == 4
    assert not (tmp_path / "last.new.pt").exists()


def test_no_checkpoint_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no checkpoint to resume from"):
        newest_checkpoint(tmp_path)
    (tmp_path / "last.pt").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"last\.pt: .*truncated"):
        newest_checkpoint(tmp_path)


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 the global generator is the one captured
    torch.manual_seed(3)
    random.gauss(0, 1)
    np.random.standard_normal()  # noqa: NPY002 leaves a cached Gaussian behind

    def draw() -> list[float]:
        return [random.gauss(0, 1), random.random(), float(np.random.standard_normal()), torch.rand(1).item()]  # noqa: NPY002

    save_last(tmp_path, {"random": random_state()})
    expected = draw()
    assert draw() != expected
    restore_random_state(newest_checkpoint(tmp_path)[1]["random"])
    assert draw() == expected
