"""Mixed precision: which number format a run computes in, and why. Weights, averages and losses stay float32.

What a machine can do is asked in `models/hardware.py` alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch

from data_utils.errors import InputError
from models import hardware

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision(NamedTuple):
    """A number format and the reason it was taken."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def pick_precision(asked: str, device: torch.device, *, training: bool = False) -> Precision:
    """Resolve auto | fp32 | bf16 | fp16 for `device`. Raises InputError when the device cannot do what is asked.

    On a CPU `auto` is fp32: with AVX-512's bf16 instructions alone both training and inference are slower than in
    fp32, and boxes move. Only a training takes bf16 by itself, and only where the processor has AMX tiles.
    """
    if asked == "auto":
        return _automatic(device, training)
    if asked == "fp16" and device.type != "cuda":
        raise InputError(f"run.precision = fp16: needs a CUDA device, this run is on {device.type}; use bf16 or fp32")
    if asked == "bf16" and device.type == "cuda" and not hardware.cuda_has_bf16():
        raise InputError("run.precision = bf16: this CUDA device has no bf16; use fp16 or fp32")
    return Precision(asked, "as asked")


def _automatic(device: torch.device, training: bool) -> Precision:
    if device.type == "cuda":
        if hardware.cuda_has_bf16():
            return Precision("bf16", "auto: this CUDA device has it")
        return Precision("fp16", "auto: this CUDA device has no bf16")
    if device.type != "cpu":
        return Precision("fp32", f"auto: always on {device.type}")
    if not training:
        return Precision("fp32", "auto: inference on a CPU")
    if hardware.cpu_has_amx_tiles():
        return Precision("bf16", "auto: this processor has AMX tiles")
    return Precision("fp32", "auto: bf16 pays on a CPU only with AMX tiles, which this one lacks")


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context in which the forward pass runs; precision: the name of a format."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])
