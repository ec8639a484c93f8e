"""Batches on their way to the device: copied beside the step that is under way, not before the one that needs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def on_device(batches: Iterable[Mapping[str, Any]], device: torch.device) -> Iterator[Mapping[str, Any]]:
    """Yield the batches; on CUDA with every tensor there, its type and memory layout kept. Elsewhere as they come.

    A batch is asked for while CUDA still works on the step before: it is copied from pinned memory on a stream of its
    own, and the step that needs it waits for the copy on the device, not here.
    """
    if device.type != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream(device)
    for batch in batches:
        with torch.cuda.stream(copies):
            moved = {name: _moved(value, device) for name, value in batch.items()}
        steps = torch.cuda.current_stream(device)
        steps.wait_stream(copies)
        for value in moved.values():
            if isinstance(value, Tensor):
                value.record_stream(steps)  # its memory is not given to a later copy while a step reads it
        yield moved


def _moved(value: Any, device: torch.device) -> Any:
    if not isinstance(value, Tensor):
        return value
    pinned = value if value.is_pinned() else value.pin_memory()  # the loader pins, but for an empty tensor
    return pinned.to(device, non_blocking=True)
