"""The compiled detector: its weights keep their names, copies are not compiled, and what is missing is said."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch
from conftest import PreparedSet

from data_utils.config.loading import override_config
from data_utils.errors import InputError
from models.sre_yolo import SREYOLO, compile_detector, require_compiler
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_pictures")
CPU = torch.device("cpu")


@pytest.fixture
def compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with a g++ on it, and a Python.h; nothing of it can compile."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("models.sre_yolo.sysconfig.get_path", lambda _: str(tmp_path))
    for name in ("g++", "Python.h"):
        (tmp_path / name).touch(mode=0o755)
    return tmp_path


def test_what_is_missing_is_said(compilers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_compiler(CPU)
    with pytest.raises(InputError, match=r"not used on mps; set run\.compile=false"):
        require_compiler(torch.device("mps"))
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(InputError, match="needs the package triton"):
        require_compiler(torch.device("cuda"))
    (compilers / "Python.h").unlink()
    with pytest.raises(InputError, match=r"Python\.h is missing"):
        require_compiler(CPU)
    (compilers / "g++").unlink()
    with pytest.raises(InputError, match=r"no C\+\+ compiler"):
        require_compiler(CPU)
    monkeypatch.setenv("CXX", "nowhere-c++")
    with pytest.raises(InputError, match="nowhere-c"):
        require_compiler(CPU)


def test_a_run_says_what_is_missing_before_it_writes(
    tiny_prepared: PreparedSet, compilers: Path, tmp_path: Path
) -> None:
    (compilers / "g++").unlink()
    results = f"run.results_dir='{tmp_path / 'results'}'"
    with pytest.raises(InputError, match=r"run\.compile"):
        Trainer(override_config(tiny_prepared.config, ["run.compile=true", results]), device="cpu")
    assert not (tmp_path / "results").exists()


def test_names_and_copies_stay_as_they_are(tiny_prepared: PreparedSet, compilers: Path) -> None:
    model = SREYOLO(tiny_prepared.config)
    names = list(model.state_dict())
    compile_detector(model, CPU)
    assert model.backbone.detector._compiled_call_impl is not None
    assert list(model.state_dict()) == names
    assert copy.deepcopy(model).backbone.detector._compiled_call_impl is None


@pytest.mark.integration
def test_the_compiled_forward_gives_the_same_loss_and_features(tiny_prepared: PreparedSet) -> None:
    try:
        require_compiler(CPU)
    except InputError as error:
        pytest.skip(str(error))
    # The tracer alone, without generating code: seconds instead of minutes.
    config = override_config(tiny_prepared.config, ["model.branch_width=8", "sr_decoder=light"])
    torch.manual_seed(0)
    plain = SREYOLO(config).train()
    traced = copy.deepcopy(plain)
    traced.backbone.detector.compile(dynamic=False, backend="eager")
    images = torch.rand(2, 3, 64, 64)
    expected, found = plain(images), traced(images)
    torch.testing.assert_close(found["sr_output"], expected["sr_output"])
    torch.testing.assert_close(found["predictions"]["scores"], expected["predictions"]["scores"])
