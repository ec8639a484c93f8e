"""What a run writes down: CSV and JSONL on disk are the truth, W&B and TensorBoard mirror them.

log.csv has a row for each epoch, log.jsonl an event for each batch and each epoch.
"""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tqdm import tqdm

from data_utils.command_line import format_table
from data_utils.config.sections import Config
from data_utils.errors import InterruptedRun
from data_utils.files import write_csv, write_text

WANDB_TIMEOUT = 30.0  # seconds to wait for the service when a run starts


class RunLog:
    """Writers of one run folder. `resumed_epoch` drops what an interrupted epoch had written after it.

    wandb_id: names the run to W&B, so that a resumed run goes on there as the same one.
    """

    def __init__(
        self,
        run_dir: Path,
        config: Config,
        wandb_off: bool = False,
        resumed_epoch: int = 0,
        wandb_id: str | None = None,
    ) -> None:
        self.csv_path, self.jsonl_path = run_dir / "log.csv", run_dir / "log.jsonl"
        self._columns: list[str] = []
        self._keep_until(resumed_epoch)
        self._jsonl = open(self.jsonl_path, "a", encoding="utf-8")  # noqa: SIM115 lives as long as the run
        self._mirrors = _open_mirrors(run_dir, config, wandb_off, wandb_id)

    def batch(self, epoch: int, step: int, values: dict[str, float]) -> None:
        """Record the terms of one batch."""
        self._event({"kind": "batch", "epoch": epoch, "step": step, **values})
        for mirror in self._mirrors:
            mirror.log({f"batch/{name}": value for name, value in values.items()}, step)

    def epoch(self, epoch: int, step: int, values: dict[str, Any]) -> None:
        """Record the epoch's means and validation metrics; flushes everything to disk."""
        row = {"epoch": epoch, **values}
        if not row.keys() <= set(self._columns):
            self._widen(row)
        self._append_row([_cell(row.get(name)) for name in self._columns])
        self._event({"kind": "epoch", "step": step, **row})
        self._jsonl.flush()
        os.fsync(self._jsonl.fileno())
        numbers = {f"epoch/{k}": float(v) for k, v in values.items() if isinstance(v, int | float)}
        for mirror in self._mirrors:
            mirror.log(numbers, step)

    def close(self) -> None:
        """Flush and close the files and the mirrors."""
        self._jsonl.close()
        for mirror in self._mirrors:
            mirror.close()

    def _event(self, event: dict[str, Any]) -> None:
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in event.items()}
        self._jsonl.write(json.dumps(clean) + "\n")

    def _append_row(self, cells: list[Any]) -> None:
        with open(self.csv_path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)
            file.flush()
            os.fsync(file.fileno())  # a checkpoint that follows must find its row, whatever happens

    def _widen(self, row: dict[str, Any]) -> None:
        """Give the CSV further columns, empty in earlier rows: an epoch that is not validated has fewer values."""
        header, rows = self._read_table()
        new = [name for name in row if name not in header]
        self._columns = [*header, *new]
        self._write_rows([cells + [""] * len(new) for cells in rows])

    def _read_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and whole rows of the CSV; empty before the first epoch."""
        if not self.csv_path.exists():
            return [], []
        with open(self.csv_path, encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        whole = [row for row in rows if len(row) == len(header)]
        if len(whole) < len(rows):
            print(f"warning: {self.csv_path}: a torn line was skipped", file=sys.stderr)
        return header, whole

    def _write_rows(self, rows: list[list[str]]) -> None:
        write_csv(self.csv_path, self._columns, [dict(zip(self._columns, row, strict=True)) for row in rows])

    def _keep_until(self, epoch: int) -> None:
        events = [e for e in _read_jsonl(self.jsonl_path) if e.get("epoch", 0) <= epoch]
        write_text(self.jsonl_path, "".join(json.dumps(e) + "\n" for e in events))
        self._columns, rows = self._read_table()
        if self._columns:
            self._write_rows([row for row in rows if int(row[0]) <= epoch])


class _WandbMirror:
    """Weights & Biases; offline unless a key is there and the service answers."""

    def __init__(self, run_dir: Path, config: Config, run_id: str | None) -> None:
        import wandb

        def start(mode: str) -> Any:
            return wandb.init(
                project="sre-yolo",
                name=run_dir.name,
                id=run_id,
                resume="allow",
                dir=str(run_dir),
                config=config.model_dump(mode="json"),
                mode=mode,  # pyright: ignore[reportArgumentType] one of its literals
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=WANDB_TIMEOUT),
            )

        self._offline = _wandb_mode(config) == "offline"
        try:
            self._run = start("offline" if self._offline else "online")
        except Exception as error:
            if self._offline or isinstance(error, InterruptedRun):
                raise
            print(f"warning: W&B does not answer ({_first_line(error)}); its log is kept offline", file=sys.stderr)
            self._offline = True
            self._run = start("offline")
        self._folder = Path(self._run.dir).parent

    @property
    def way_on(self) -> str:
        """Return the command that uploads what was logged."""
        return f"wandb sync {shlex.quote(str(self._folder))}"

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()
        if self._offline:
            print(f"W&B log kept offline; to upload it: {self.way_on}")


class _TensorBoardMirror:
    """TensorBoard event files in the run folder."""

    def __init__(self, run_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_dir / "tensorboard"))

    def log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Guarded:
    """A mirror whose failure costs one warning: the local log goes on."""

    def __init__(self, name: str, mirror: Any) -> None:
        self._name, self._mirror = name, mirror

    def log(self, values: dict[str, float], step: int) -> None:
        self._try("log", values, step)

    def close(self) -> None:
        self._try("close")

    def _try(self, method: str, *args: Any) -> None:
        if self._mirror is None:
            return
        try:
            getattr(self._mirror, method)(*args)
        except InterruptedRun:  # is not the mirror's
            raise
        except Exception as error:  # a third party's failure of any kind must not cost the run
            way_on = getattr(self._mirror, "way_on", None)
            upload = f"; to upload what it has: {way_on}" if way_on else ""
            stopped = f"warning: {self._name} stopped ({_first_line(error)})"
            print(f"{stopped}; the log in the run folder goes on{upload}", file=sys.stderr)
            self._mirror = None


def _open_mirrors(run_dir: Path, config: Config, wandb_off: bool, wandb_id: str | None) -> list[_Guarded]:
    openers = []
    if not wandb_off and _wandb_mode(config) != "off":
        openers.append(("W&B", lambda: _WandbMirror(run_dir, config, wandb_id)))
    if config.run.tensorboard:
        openers.append(("TensorBoard", lambda: _TensorBoardMirror(run_dir)))
    mirrors = []
    for name, opener in openers:
        try:
            mirrors.append(_Guarded(name, opener()))
        except InterruptedRun:  # a signal while W&B starts, which takes seconds: it must not be lost
            raise
        except Exception as error:  # missing package, no disk, no network: the local log is enough
            reason = _first_line(error)
            print(f"warning: {name} is not available ({reason}); the log in the run folder goes on", file=sys.stderr)
    return mirrors


def _wandb_mode(config: Config) -> str:
    """Return off, offline or online: what the setting says, or WANDB_MODE where that lets less out of the machine."""
    asked = os.environ.get("WANDB_MODE", "").lower()
    if config.run.wandb == "off" or asked == "disabled":
        return "off"
    without_service = config.run.wandb == "offline" or asked in ("offline", "dryrun")
    return "offline" if without_service or not os.environ.get("WANDB_API_KEY") else "online"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            print(f"warning: {path}: a torn line was skipped", file=sys.stderr)
    return events


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


# Where a run stands, and what a person sees of it while it goes on.


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


# What a run tells while it goes on: log files and their mirrors, the bar, a line for each epoch.


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
