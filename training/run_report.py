"""What a run tells while it goes on: log files and their mirrors, the bar, a line for each epoch."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from training.progress import ProgressPrinter
from training.run_log import RunLog


class RunReport:
    """Writes and prints for one `TrainingLoop`; `silent` in all training processes but the first."""

    def __init__(self, loop: Any, silent: bool = False) -> None:
        self.progress = loop.progress
        self._log = self._printer = None
        if silent:
            return
        self._log = RunLog(
            loop.run_dir, loop.config, loop.wandb_off, resumed_epoch=loop.progress.epoch, wandb_id=loop.wandb_id
        )
        self._printer = ProgressPrinter(
            loop.config.epochs, len(loop.train_loader), loop.progress.batches, loop.terms, loop.score
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._printer is not None:
            self._printer.close()
        if self._log is not None:
            self._log.close()

    def batch(self, number: int, terms: Mapping[str, float]) -> None:
        """Tell of one batch of the epoch that is under way, by its number in the run."""
        if self._log is not None and self._printer is not None:
            self._log.batch(self.progress.epoch + 1, number, dict(terms))
            self._printer.batch()

    def epoch(self, row: dict[str, Any]) -> None:
        """Tell of the epoch that just ended."""
        if self._log is not None and self._printer is not None:
            self._log.epoch(self.progress.epoch, self.progress.batches, row)
            self._printer.epoch(self.progress.epoch, row)
