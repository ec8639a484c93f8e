"""Which number format a device gets."""

from __future__ import annotations

import pytest
import torch

from data_utils.errors import InputError
from models import precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_cpu_follows_its_instructions(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: str
) -> None:
    monkeypatch.setattr(precision, "_has_bf16", lambda device: native)
    assert precision.pick_precision("auto", CPU) == expected


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match=r"run\.precision = fp16: needs a CUDA device"):
        precision.pick_precision("fp16", CPU)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_computes_in_the_format_named(name: str, dtype: torch.dtype) -> None:
    with precision.autocast(name, CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
