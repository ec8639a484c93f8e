"""The training loop, whatever is trained: schedule, averaging, checkpoints, exact resume, logs, signals."""

from __future__ import annotations

import abc
import math
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from data_utils.config.sections import Config
from data_utils.errors import NO_ROOM, InterruptedRun, ResumableError, StopSignal
from data_utils.loader import EpochFrames, EpochLoader
from evaluation.passes.predict import as_float
from evaluation.plots import redraw
from models.checkpoint import pick_device, save_model
from models.precision import pick_precision
from training import distributed
from training.distributed import synchronise_batch_norm
from training.loss import LossWatch, NonFiniteLossError, Watched, lag_on
from training.optim import Model, ModelEMA, build_optimizer, clip_gradients, learning_rate, set_learning_rate
from training.run.folder import add_to_record, finish_record
from training.run.log import Progress, RunReport, Score, epochs_table
from training.run.resume import ACCEPT, code_part, config_part, data_part, open_run
from training.run.state import BEST, capture, is_finite, save_last, seed_generators

# Memory of a training: how much it took, and what to lower when there is not enough.


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


# Batches on their way to the device: copied beside the step that is under way, not before the one that needs them.


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


Data = TypeVar("Data", bound=EpochFrames)


class TrainingLoop(abc.ABC, Generic[Model, Data]):
    """Trains one split of one config; everything it writes lies in `run_dir`.

    A subclass says what is trained (`_new_model`, `_initialise`), on what (`_dataset`, `_loader`), against which loss
    (`_new_criterion`, `_terms_of`) and how it is judged (`_measure`).

    weights: initial weights. resume: the run folder to go on with; with `accept_changes` even if settings, data or code
    have changed since. Under torchrun, each process trains on its share of every batch. Raises InputError for missing
    data, weights or devices before anything is written.
    """

    task: ClassVar[str]  # stands in records and checkpoints: a run goes on only under the task that began it
    command: ClassVar[str]  # trains it; a stopped run names the way on with it
    score: ClassVar[Score]  # of `_measure`; the best epoch's weights are kept
    terms: ClassVar[tuple[str, ...]]  # of the loss: total_loss first, the one that is minimised

    def __init__(
        self,
        config: Config,
        split: int = 1,
        weights: str | None = None,
        device: str = "auto",
        resume: Path | None = None,
        wandb_off: bool = False,
        accept_changes: bool = False,
    ) -> None:
        self.config, self.split, self.wandb_off = config, split, wandb_off
        self.device = pick_device(distributed.join(device))
        self.number_format = pick_precision(config.run.precision, self.device, training=True)
        self.precision = self.number_format.name
        self.eval_precision = pick_precision(config.run.precision, self.device).name  # of validation
        self._open_data()
        files = {"train": self._files(self.train_set), "val": self._files(self.val_set)}
        self.foundations = {**config_part(config), **data_part(files), **code_part()}

        seed_generators(config.seed)
        model = self._new_model()
        self.origin = f"resumed from {resume}" if resume else self._initialise(model, weights)
        layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.criterion = self._new_criterion()
        self.optimizer = build_optimizer(self.model, config, self._rate_factor)
        self.scaler = torch.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = ModelEMA(self.model, config.optim.ema_decay, config.optim.ema_tau)
        if config.optim.sync_batch_norm:
            self.model = synchronise_batch_norm(self.model, self.device)
        self.loss_lag, self.parameters = lag_on(self.device, self.scaler.is_enabled()), list(self.model.parameters())
        self.progress = Progress()
        self.wandb_id, self.lock = secrets.token_hex(4), None
        self.run_dir = open_run(self, resume, accept_changes)
        self.saved_epoch = self.progress.epoch

    def _open_data(self) -> None:
        """Open both data sets; raises InputError for what is wrong with them."""
        self.train_set, self.val_set = self._dataset("train", training=True), self._dataset("val", training=False)
        self.train_loader, self.val_loader = self._loader(self.train_set), self._loader(self.val_set)

    @abc.abstractmethod
    def _dataset(self, part: str, training: bool) -> Data:
        """Return the frames of split list `part`."""

    def _files(self, dataset: Data) -> Sequence[Path]:
        """Return the files that decide what is learnt from `dataset`, in the order of its list."""
        return dataset.image_paths

    @abc.abstractmethod
    def _loader(self, dataset: Data) -> EpochLoader:
        """Return the loader of one of the two data sets."""

    @abc.abstractmethod
    def _new_model(self) -> Model:
        """Return the model with random weights."""

    @abc.abstractmethod
    def _initialise(self, model: Model, weights: str | None) -> str:
        """Give the new model its first weights; return a sentence on where they come from."""

    @abc.abstractmethod
    def _new_criterion(self) -> nn.Module:
        """Return the loss of `self.model`."""

    @abc.abstractmethod
    def _terms_of(self, batch: Any) -> dict[str, Tensor]:
        """Run forward and loss of one batch; return the values `terms` names, total_loss differentiable."""

    @abc.abstractmethod
    def _measure(self) -> dict[str, Any]:
        """Judge the averaged weights on the validation frames; returns a dict with `score.key`."""

    @abc.abstractmethod
    def _about_model(self) -> str:
        """Return what is trained, and how large it is."""

    @abc.abstractmethod
    def _next_command(self, best: str) -> str:
        """Return the command that goes on with the best weights, at the path `best`, shell-quoted."""

    def _rate_factor(self, name: str) -> float:
        """Return the factor on the learning rate of parameter `name`; by default all learn alike."""
        return 1.0

    def _choose_what_learns(self, epoch: int) -> None:
        """Freeze and unfreeze parts for `epoch` (from 0), as the settings say alone; by default everything learns."""

    def _record(self) -> dict[str, Any]:
        """Return what a new run's record is to say beside what every record says; by default nothing."""
        return {}

    def _save_panel(self, path: Path) -> None:
        """Save pictures of the present weights' work to the archive `path`; by default none."""

    def _publish(self) -> None:
        """Copy a finished run's results to where others look for them; by default nowhere."""

    def fit(self) -> dict[str, Any]:
        """Train until the last epoch, or until `patience` epochs brought no better validation score.

        Returns {"run_dir", "best", "best_epoch", <score.key>, "epochs_trained", "seconds"} (since it began or went
        on). A signal stops it at a batch edge: InterruptedRun; a loss not finite, before it: NonFiniteLossError.
        """
        started = time.monotonic()
        try:
            with StopSignal() as stop, RunReport(self, silent=not distributed.is_main()) as report:
                while self.progress.epoch < self.config.epochs and not self._out_of_patience():
                    row = self._train_one_epoch(report, stop)
                    self._finish_epoch(row | self._validate(), report)
            if self._out_of_patience() and distributed.is_main():
                print(self._about_patience(), file=sys.stderr)
            return self._close(time.monotonic() - started)
        except ResumableError as error:
            if "--resume" not in str(error):
                error.args = (f"{error}; {self._way_on()} (changed settings after it, with {ACCEPT})",)
            if distributed.is_main():
                add_to_record(self.run_dir, stopped=str(error))
            raise
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            place = error.filename2 or error.filename or self.run_dir
            raise ResumableError(f"{place}: {error.strerror}; make room, then: {self._way_on()}") from error
        finally:
            if self.lock is not None:
                self.lock.release()

    def describe(self) -> str:
        """Return what is about to be trained, for the terminal."""
        return "\n".join([
            f"run      {self.run_dir}",
            f"data     {self.config.dataset.name}, split {self.split}: {len(self.train_set)} training frames, "
            f"{len(self.val_set)} validation frames",
            f"model    {self._about_model()}",
            f"weights  {self.origin}",
            f"device   {self.device}, {self.number_format}, {torch.get_num_threads()} threads",
        ])

    def closing_lines(self, result: dict[str, Any]) -> str:
        """Return what was reached and where it lies, for the terminal."""
        best = result[self.score.key]
        scored = "n/a (nothing to validate on)" if best is None else f"{best:.3f}"
        stopped = "" if result["epochs_trained"] == self.config.epochs else ", stopped early"
        lines = [
            epochs_table(self.run_dir, {"best": result["best_epoch"], "last": result["epochs_trained"]}),
            f"best validation {self.score.label} {scored} in epoch {result['best_epoch']} of {result['epochs_trained']}"
            f"{stopped}, {result['seconds'] / 60:.1f} min{' since it was resumed' * self.origin.startswith('resumed')}",
            *(f"  {path}" for path in (result["best"], *sorted(map(str, self.run_dir.glob("*.png"))))),
            f"next: {self._next_command(shlex.quote(result['best']))}",
        ]
        return "\n".join(lines)

    def _train_one_epoch(self, report: RunReport, stop: StopSignal) -> dict[str, Any]:
        config, progress = self.config, self.progress
        self._choose_what_learns(progress.epoch)
        self.model.train()
        following = progress.epoch + 1
        self.train_loader.set_epoch(progress.epoch, following if following < config.epochs else None)
        n_batches, accumulate = len(self.train_loader), config.optim.accumulate
        steps_per_epoch = math.ceil(n_batches / accumulate)
        watch = LossWatch(self.terms, progress.epoch + 1, self.optimizer, self.loss_lag)
        sums, images, rate, started = torch.zeros(len(self.terms)), 0, 0.0, time.monotonic()
        for index, batch in enumerate(on_device(self.train_loader, self.device)):
            rate = learning_rate(progress.step, steps_per_epoch, config)
            set_learning_rate(self.optimizer, rate)
            with naming_what_to_lower("batch_size", config.batch_size, f" optim.accumulate={2 * accumulate}"):
                losses = self._terms_of(batch)
                terms = torch.stack([losses[name].detach() for name in self.terms])
                watched = watch.follow(progress.batches + 1, terms, batch["img_path"])
                self.scaler.scale(losses["total_loss"] / accumulate).backward()
                if (index + 1) % accumulate == 0 or index + 1 == n_batches:
                    self._step()

            progress.batches, images = progress.batches + 1, images + len(batch["img_path"])
            self._note(watched, sums, report)
            self._stop_at_the_edge(stop)
        self._note(watch.rest(), sums, report)
        means = dict(zip(self.terms, (sums / n_batches).tolist(), strict=True))
        images_per_s = sum(distributed.gathered(images)) / (time.monotonic() - started)
        machine = {"images_per_s": images_per_s, "memory_gb": peak_gigabytes(self.device)}
        return {**means, "lr": rate, **machine}

    def _note(self, watched: Sequence[Watched], sums: Tensor, report: RunReport) -> None:
        """Report the terms [T] of batches and add them to `sums`, in place."""
        for number, terms in watched:
            sums += terms
            report.batch(number, dict(zip(self.terms, terms.tolist(), strict=True)))

    def _stop_at_the_edge(self, stop: StopSignal) -> None:
        """Raise InterruptedRun if a signal came; all processes leave at the same edge, and the main one says so."""
        if number := distributed.greatest(int(stop.number or 0), self.device):
            if not distributed.is_main():
                distributed.leave_after_main(128 + number)
            raise InterruptedRun(f"stopped by {signal.Signals(number).name}; {self._way_on()}", 128 + number)

    def _way_on(self) -> str:
        resume = f"{self.command} --resume {shlex.quote(str(self.run_dir))}"
        return f"epoch {self.saved_epoch} is saved; go on with: {resume}"

    def _step(self) -> None:
        distributed.average_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        clip_gradients(self.parameters, self.config.optim.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.progress.step += 1

    def _validate(self) -> dict[str, Any]:
        """Score the averaged weights on the validation frames, and draw a panel every few epochs."""
        config, epoch = self.config, self.progress.epoch + 1
        distributed.average_buffers(self.model)
        distributed.average_buffers(self.ema.model)
        last = epoch == config.epochs
        with naming_what_to_lower("eval.batch_size", config.eval.batch_size or config.batch_size):
            metrics = self._measure() if epoch % config.run.val_every == 0 or last else {}
        if distributed.is_main() and config.run.panel_every and (epoch % config.run.panel_every == 0 or last):
            self._save_panel(self.run_dir / "panels" / f"epoch_{epoch:03}.npz")
        return metrics

    def _finish_epoch(self, row: dict[str, Any], report: RunReport) -> None:
        progress, key = self.progress, self.score.key
        if not is_finite(self.model):  # spoiled by the epoch's last step, whose loss was still finite
            raise NonFiniteLossError(f"weights not finite after epoch {progress.epoch + 1}, not saved; lower lr0")
        progress.epoch += 1
        if is_best := key in row and progress.is_better(row[key]):
            progress.best_score, progress.best_epoch = row[key], progress.epoch
        if distributed.is_main():
            if is_best:
                self._save_best({f"val_{key}": row[key]})
            report.epoch(row)
            save_last(self.run_dir, capture(self))
            self.saved_epoch = progress.epoch

    def _save_best(self, metrics: dict[str, Any], **more: Any) -> None:
        """Save the averaged weights, the best so far by `metrics`, with `more` that the checkpoint is to say."""
        meta = {"task": self.task, "split": self.split, "run": self.run_dir.name, "epoch": self.progress.epoch}
        save_model(self.run_dir / BEST, self.ema.model, self.config, meta | {"metrics": metrics} | more)

    def _close(self, seconds: float) -> dict[str, Any]:
        progress = self.progress
        result = {
            "best": str(self.run_dir / BEST),
            "best_epoch": progress.best_epoch,
            self.score.key: progress.best_score,
            "epochs_trained": progress.epoch,
            "seconds": round(seconds, 1),
        }
        if distributed.is_main():
            redraw(self.run_dir)
            finish_record(self.run_dir, result)
            self._publish()
        return {"run_dir": str(self.run_dir), **result}

    def _input(self, images: Tensor) -> Tensor:
        """Move images [B, 3, H, W] to the device as float in [0, 1], in the memory layout of the model."""
        images = as_float(images, self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.config.run.channels_last else images

    def _about_patience(self) -> str:
        epochs, patience = self.progress.epoch, self.config.patience
        return (
            f"note: ended by patience = {patience} after epoch {epochs}, the last {epochs - self.progress.best_epoch} "
            f"of which brought no better {self.score.label}; to train on: {self.command} --resume "
            f"{shlex.quote(str(self.run_dir))} patience={patience + self.config.epochs} {ACCEPT}"
        )

    def _out_of_patience(self) -> bool:
        progress = self.progress
        return progress.best_epoch > 0 and progress.epoch - progress.best_epoch >= self.config.patience
