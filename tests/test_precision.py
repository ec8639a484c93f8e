"""Which number format a device gets, whatever this machine's processor can do."""

from __future__ import annotations

import pytest
import torch

from data_utils.errors import InputError
from models import hardware, precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("avx512_bf16", [True, False])
@pytest.mark.parametrize(("amx", "training", "expected"), [
    (True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32"), (False, False, "fp32"),
])  # fmt: skip
def test_auto_on_a_cpu_takes_bf16_only_for_training_on_amx_tiles(
    monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool, training: bool, expected: str
) -> None:
    monkeypatch.setattr(hardware, "cpu_has_bf16", lambda: avx512_bf16)
    monkeypatch.setattr(hardware, "cpu_has_amx_tiles", lambda: amx)
    chosen = precision.pick_precision("auto", CPU, training=training)
    assert chosen.name == expected
    assert ("AMX" in chosen.reason) == training


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
@pytest.mark.parametrize("training", [True, False])
def test_auto_on_cuda_follows_the_device(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str, training: bool
) -> None:
    monkeypatch.setattr(hardware, "cuda_has_bf16", lambda: native)
    assert precision.pick_precision("auto", CUDA, training=training).name == expected


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cpu_has_amx_tiles", lambda: False)
    assert precision.pick_precision("bf16", CPU, training=True) == ("bf16", "as asked")


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match=r"run\.precision = fp16: needs a CUDA device"):
        precision.pick_precision("fp16", CPU)


def test_a_torch_without_the_questions_counts_as_no(monkeypatch: pytest.MonkeyPatch) -> None:
    for question in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, question, raising=False)
    assert (hardware.cpu_has_amx_tiles(), hardware.cpu_has_bf16()) == (False, False)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_format_named(name: str, dtype: torch.dtype) -> None:
    with precision.autocast(name, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
