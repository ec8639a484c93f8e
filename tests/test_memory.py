"""Out of memory, in words."""

from __future__ import annotations

import pytest
import torch

from data_utils.errors import ResumableError
from training.loop import naming_what_to_lower, peak_gigabytes

CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:132] DefaultCPUAllocator: can't allocate memory: you tried ...")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), CPU])
def test_the_batch_size_to_try_is_named(error: Exception) -> None:
    expected = r"out of memory with batch_size = 16: try batch_size=8 optim\.accumulate=2"
    with pytest.raises(ResumableError, match=expected), naming_what_to_lower("batch_size", 16, " optim.accumulate=2"):
        raise error


def test_at_one_frame_it_is_the_frame_that_is_too_large() -> None:
    with pytest.raises(ResumableError, match="try a smaller imgsz_lr"), naming_what_to_lower("batch_size", 1):
        raise MemoryError


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), naming_what_to_lower("batch_size", 4):
        raise RuntimeError("shapes do not match")


def test_an_impossible_allocation_is_recognised() -> None:
    with pytest.raises(ResumableError), naming_what_to_lower("batch_size", 4):
        torch.empty(2**50, dtype=torch.uint8)


def test_memory_held_is_plausible() -> None:
    assert 0.01 < peak_gigabytes(torch.device("cpu")) < 1000
