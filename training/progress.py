"""Where a run stands, and what a person sees of it while it goes on."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from data_utils.text_table import format_table

_FORMER_NAMES = {"best_ap50": "best_score"}  # in the checkpoints of earlier versions


class Score(NamedTuple):
    """The validation measure that says which epoch is best (larger is better): its log column, and its printed name."""

    key: str
    label: str


@dataclass
class Progress:
    """Counters that a checkpoint keeps: epochs done, optimiser steps and batches done, the best epoch so far."""

    epoch: int = 0
    step: int = 0
    batches: int = 0
    best_score: float | None = None
    best_epoch: int = 0

    def state(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        return asdict(self)

    def load(self, state: dict[str, Any]) -> None:
        """Take the counters from `state`."""
        for name, value in state.items():
            setattr(self, _FORMER_NAMES.get(name, name), value)

    def is_better(self, score: float | None) -> bool:
        """Say whether `score` is a new best. Without anything to validate on (None) the newest epoch is the best."""
        return score is None or self.best_score is None or score > self.best_score


class ProgressPrinter:
    """One bar over all batches of the run with the time left, and one printed line for each epoch."""

    def __init__(
        self, n_epochs: int, batches_per_epoch: int, done: int, terms: Sequence[str], score: Score
    ) -> None:
        self.n_epochs, self.terms, self.score = n_epochs, terms, score
        self._bar = tqdm(
            total=n_epochs * batches_per_epoch,
            initial=done,
            unit="batch",
            desc="training",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )
        self._started, self._epochs_before = time.monotonic(), None

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def batch(self) -> None:
        """Advance by one batch."""
        self._bar.update()

    def epoch(self, epoch: int, row: dict[str, Any]) -> None:
        """Print the epoch's line: terms, learning rate, score, images/s, most memory held (GB) and the time left."""
        if self._epochs_before is None:
            self._epochs_before = epoch - 1
        elapsed = time.monotonic() - self._started
        left = elapsed / (epoch - self._epochs_before) * (self.n_epochs - epoch)
        terms = " ".join(f"{name.removeprefix('l_')} {row[name]:.3f}" for name in self.terms)
        speed = f"{row['images_per_s']:.1f} img/s  {row['memory_gb']:.1f} GB  {_clock(left)} left"
        line = f"epoch {epoch:>3}/{self.n_epochs}  {terms}  lr {row['lr']:.2g}  {self._scored(row)}  {speed}"
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def _scored(self, row: dict[str, Any]) -> str:
        key, label = self.score
        if key not in row:  # an epoch that was not validated
            return f"{label} -    "
        return f"{label} n/a  " if row[key] is None else f"{label} {row[key]:.3f}"


def epochs_table(run_dir: Path, epochs: Mapping[str, int]) -> str:
    """Return a table of what log.csv says of some epochs ({title: epoch}), a measure in each line."""
    with open(run_dir / "log.csv", encoding="utf-8", newline="") as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    chosen = {title: rows.get(epoch, {}) for title, epoch in epochs.items()}
    names = [name for name in next(iter(rows.values()), {}) if any(row.get(name) for row in chosen.values())]
    return format_table([{"": name} | {title: row.get(name) or "-" for title, row in chosen.items()} for name in names])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
