"""Memory of a training: how much it took, and what to lower when there is not enough."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from data_utils.errors import ResumableError

CPU_REFUSAL = "DefaultCPUAllocator"  # torch raises a plain RuntimeError for the CPU


@contextmanager
def naming_what_to_lower(setting: str, value: int, advice: str = "") -> Iterator[None]:
    """Turn "out of memory" within the block into a ResumableError that names `setting` and the value to try."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and CPU_REFUSAL not in str(error):
            raise
        lower = f"try {setting}={value // 2}{advice}" if value > 1 else "try a smaller imgsz_lr, or a smaller model"
        raise ResumableError(f"out of memory with {setting} = {value}: {lower}") from error


def peak_gigabytes(device: torch.device) -> float:
    """Return the most memory this process has held so far, in 10^9 bytes: on the GPU, or else its resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e9
