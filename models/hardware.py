"""What the machine can do. Asked here and nowhere else, so that tests can try every answer on any machine.

The processor's cores are counted in data_utils/processes.py, which works without PyTorch.
"""

from __future__ import annotations

import torch


def cpu_has_amx_tiles() -> bool:
    """Return whether the processor multiplies bf16 matrices in AMX tiles; False where PyTorch cannot say."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


def cpu_has_bf16() -> bool:
    """Return whether the processor has AVX-512's bf16 instructions; False where PyTorch cannot say."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def cuda_has_bf16() -> bool:
    """Return whether the current CUDA device computes in bf16 without emulating it."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def n_cuda_devices() -> int:
    """Return how many CUDA devices PyTorch can use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def has_mps() -> bool:
    """Return whether PyTorch can use Apple's GPU."""
    return torch.backends.mps.is_available()
