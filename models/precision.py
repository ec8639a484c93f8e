"""Mixed precision: which number format a run computes in. Weights, averages and losses stay float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from data_utils.errors import InputError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_precision(asked: str, device: torch.device) -> str:
    """Resolve auto | fp32 | bf16 | fp16 for `device`. Raises InputError when the device cannot do what is asked."""
    native_bf16 = _has_bf16(device)
    if asked == "auto":
        return "bf16" if native_bf16 else "fp16" if device.type == "cuda" else "fp32"
    if asked == "fp16" and device.type != "cuda":
        raise InputError(f"run.precision = fp16: needs a CUDA device, this run is on {device.type}; use bf16 or fp32")
    if asked == "bf16" and device.type == "cuda" and not native_bf16:
        raise InputError("run.precision = bf16: this CUDA device has no bf16; use fp16 or fp32")
    return asked


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context in which the forward pass runs."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Emulated bf16 on a CPU is slower than fp32, so only native instructions count.
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
