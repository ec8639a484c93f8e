"""Reading ultralytics' pickled models without running them."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.errors import InputError
from models.backbone import build_detector
from models.pretrained import read_foreign_state


class Payload:
    """A pickle that runs a command when read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


class Attribute:
    """A pickle that reaches for eval through getattr."""

    def __reduce__(self) -> Any:
        return eval, ("1 + 1",)


def test_a_pickled_model_gives_its_state_dict(tmp_path: Path) -> None:
    detector = build_detector("yolov8n", 80)
    torch.save({"model": detector, "ema": None, "epoch": 3}, tmp_path / "whole.pt")
    state = read_foreign_state(tmp_path / "whole.pt")
    expected = detector.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_averaged_weights_are_preferred_and_half_becomes_float(tmp_path: Path) -> None:
    plain, averaged = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).half()
    torch.save({"model": plain, "ema": averaged}, tmp_path / "both.pt")
    state = read_foreign_state(tmp_path / "both.pt")
    assert state["weight"].dtype == torch.float32
    assert torch.equal(state["weight"], averaged.weight.float())


def test_a_plain_state_dict_is_read(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "state.pt")
    assert torch.equal(read_foreign_state(tmp_path / "state.pt")["a.weight"], torch.ones(2))


@pytest.mark.parametrize("kind", ["system", "eval"])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "executed"
    torch.save({"model": Payload(marker) if kind == "system" else Attribute()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match="refused, nothing was executed"):
        read_foreign_state(tmp_path / "bad.pt")
    assert not marker.exists()


def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(InputError, match="not a PyTorch weights file"):
        read_foreign_state(tmp_path / "bare.pt")
    assert not marker.exists()


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(InputError, match="holds no weights"):
        read_foreign_state(tmp_path / "empty.pt")


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"not a readable weights file|holds no"):
        read_foreign_state(tmp_path / "other.pt")


@settings(max_examples=40, deadline=None)
@given(position=st.floats(0, 1), value=st.integers(0, 255))
def test_random_edits_end_in_a_clear_error_or_in_weights(position: float, value: int) -> None:
    path = _edited_file(position, value)
    intact = {"weight": (3, 3), "bias": (3,)}
    with contextlib.suppress(InputError):
        assert {name: tuple(value.shape) for name, value in read_foreign_state(path).items()} == intact


def _edited_file(position: float, value: int) -> Path:
    import tempfile

    path = Path(tempfile.gettempdir()) / f"sre_yolo_test_edit_{os.getpid()}.pt"
    torch.save({"model": torch.nn.Linear(3, 3)}, path)
    content = bytearray(path.read_bytes())
    content[min(int(position * len(content)), len(content) - 1)] = value
    path.write_bytes(content)
    return path
