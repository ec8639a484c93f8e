"""Where a run stands, and what a person sees of it while it goes on."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from tqdm import tqdm

from training.loss import LOSS_COLUMNS


@dataclass
class Progress:
    """Counters that a checkpoint keeps: epochs done, optimiser steps and batches done, the best epoch so far."""

    epoch: int = 0
    step: int = 0
    batches: int = 0
    best_ap50: float | None = None
    best_epoch: int = 0

    def state(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        return asdict(self)

    def load(self, state: dict[str, Any]) -> None:
        """Take the counters from `state`."""
        for name, value in state.items():
            setattr(self, name, value)

    def is_better(self, ap50: float | None) -> bool:
        """Say whether `ap50` is a new best. Without lesions to validate on (None) the newest epoch is the best."""
        return ap50 is None or self.best_ap50 is None or ap50 > self.best_ap50


class ProgressPrinter:
    """One bar over all batches of the run with the time left, and one printed line for each epoch."""

    def __init__(self, n_epochs: int, batches_per_epoch: int, done: int) -> None:
        self.n_epochs = n_epochs
        self._bar = tqdm(
            total=n_epochs * batches_per_epoch,
            initial=done,
            unit="batch",
            desc="training",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        self._started, self._epochs_before = time.monotonic(), None

    def __enter__(self) -> ProgressPrinter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def batch(self) -> None:
        """Advance by one batch."""
        self._bar.update()

    def epoch(self, epoch: int, row: dict[str, Any]) -> None:
        """Print the epoch's line: terms, learning rate, AP50, images/s and the time left."""
        if self._epochs_before is None:
            self._epochs_before = epoch - 1
        elapsed = time.monotonic() - self._started
        left = elapsed / (epoch - self._epochs_before) * (self.n_epochs - epoch)
        terms = " ".join(f"{name.removeprefix('l_')} {row[name]:.3f}" for name in LOSS_COLUMNS)
        speed = f"{row['images_per_s']:.1f} img/s  {_clock(left)} left"
        line = f"epoch {epoch:>3}/{self.n_epochs}  {terms}  lr {row['lr']:.2g}  {_scored(row)}  {speed}"
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def _scored(row: dict[str, Any]) -> str:
    if "ap50" not in row:  # an epoch that was not validated
        return "AP50 -    "
    return "AP50 n/a  " if row["ap50"] is None else f"AP50 {row['ap50']:.3f}"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
