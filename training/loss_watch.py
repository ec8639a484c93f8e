"""The watch over the loss: the terms of every batch are fetched, and one that is not finite is never followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from data_utils.errors import ResumableError
from training import distributed

FILES_NAMED = 16  # of a batch whose loss is not finite
GUARD = "found_inf"  # where this attribute holds a one, torch's fused optimisers leave the weights as they are


class NonFiniteLossError(ResumableError):
    """The loss became NaN or infinite; nothing of that batch reached the weights."""


class Watched(NamedTuple):
    """The terms [T] of one batch, on the CPU, and the batch's number in the run, from 1."""

    batch: int
    terms: Tensor


class _Underway(NamedTuple):
    watched: Watched
    arrival: torch.cuda.Event | None  # None: it is there
    files: Sequence[str]


def lag_on(device: torch.device, scales_gradients: bool) -> int:
    """Return how many batches late the loss is looked at: none, but one on CUDA, where looking waits for the device.

    fp16's gradient scaler sets the optimiser's guard itself, so there the loss is looked at at once.
    """
    return 1 if device.type == "cuda" and not scales_gradients else 0


class LossWatch:
    """Fetches the terms of an epoch's batches, `lag` batches late, and refuses a loss that is not finite.

    With a lag, steps have been asked for by the time a bad loss is seen. So the optimiser, which must be a fused one,
    gets a guard that the device itself sets: from the first bad loss on, a step changes no weights. Terms are means
    over all processes, so all of them stop together.
    """

    def __init__(self, names: Sequence[str], epoch: int, optimizer: torch.optim.Optimizer, lag: int) -> None:
        """names: of the terms, the one that is minimised first. epoch: its number, from 1."""
        self._names, self._epoch, self._lag = names, epoch, lag
        self._underway: deque[_Underway] = deque()
        self._device = optimizer.param_groups[0]["params"][0].device
        self._guard = torch.zeros((), device=self._device)
        if lag:
            assert optimizer.defaults["fused"], "only a fused optimiser can be held back by the device"
            setattr(optimizer, GUARD, self._guard)

    def follow(self, batch: int, terms: Tensor, files: Sequence[str]) -> list[Watched]:
        """Take the terms of batch `batch` before its optimiser step; returns what has arrived in the meantime.

        Raises NonFiniteLossError for a batch that has arrived and whose loss is not finite; `files` are its frames.
        """
        terms = distributed.summed(terms) / distributed.world_size()
        if self._lag:
            self._guard.logical_or_(~torch.isfinite(terms[0]))
        on_cpu, arrival = _sent_to_cpu(terms)
        self._underway.append(_Underway(Watched(batch, on_cpu), arrival, files))
        return self._arrived(self._lag)

    def rest(self) -> list[Watched]:
        """Return the batches still under way, once the device has done all its work; raises as `follow` does."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # so that an epoch's time holds its last step
        return self._arrived(0)

    def _arrived(self, under_way: int) -> list[Watched]:
        """Wait until no more than `under_way` batches are left."""
        found = []
        while len(self._underway) > under_way:
            watched, arrival, files = self._underway.popleft()
            if arrival is not None:
                arrival.synchronize()
            self._require_finite(watched.terms, files)
            found.append(watched)
        return found

    def _require_finite(self, terms: Tensor, files: Sequence[str]) -> None:
        if torch.isfinite(terms[0]):
            return
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(self._names, terms.tolist(), strict=True))
        named = ", ".join(Path(path).name for path in files[:FILES_NAMED])
        raise NonFiniteLossError(
            f"the loss is not finite in epoch {self._epoch}: {values}; files: {named}; look at them, "
            "or train with a lower lr0 or run.precision=fp32"
        )


def _sent_to_cpu(terms: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Return a copy on the CPU, and on CUDA the event that says when it is whole: nobody waits for it here."""
    if not terms.is_cuda:
        return terms.cpu(), None
    copy = torch.empty(terms.shape, dtype=terms.dtype, pin_memory=True)
    copy.copy_(terms, non_blocking=True)
    arrival = torch.cuda.Event()
    arrival.record(torch.cuda.current_stream(terms.device))
    return copy, arrival
