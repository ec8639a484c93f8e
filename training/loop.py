"""The training loop, whatever is trained: schedule, averaging, checkpoints, exact resume, logs, signals."""

from __future__ import annotations

import abc
import math
import shlex
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from data_utils.config import config_from_dict, config_hash
from data_utils.config_sections import Config
from data_utils.dataset import EpochFrames, EpochLoader
from data_utils.errors import InputError, InterruptedRun, ResumableError
from data_utils.stop import StopSignal
from evaluation.plots import redraw
from evaluation.predictions import as_float
from models.precision import pick_precision
from models.weights import check_task, pick_device, save_model
from training.checkpoint import BEST, newest_checkpoint, random_state, restore, save_last
from training.ema import Model, ModelEMA
from training.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from training.progress import Progress, ProgressPrinter, Score
from training.run_folder import finish_record, is_finished, new_run_dir, write_record
from training.run_log import RunLog

Data = TypeVar("Data", bound=EpochFrames)


class NonFiniteLossError(ResumableError):
    """The loss became NaN or infinite; nothing of that batch reached the weights."""


class TrainingLoop(abc.ABC, Generic[Model, Data]):
    """Trains one split of one config; everything it writes lies in `run_dir`.

    A subclass says what is trained (`_new_model`, `_initialise`), on what (`_dataset`, `_loader`), against which loss
    (`_new_criterion`, `_terms_of`) and how it is judged (`_measure`).

    weights: initial weights. resume: the run folder to go on with. Raises InputError for missing data, weights or
    devices before anything is written.
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
    ) -> None:
        self.config, self.split, self.wandb_off = config, split, wandb_off
        self.device = pick_device(device)
        self.precision = pick_precision(config.run.precision, self.device)
        self._open_data()

        torch.manual_seed(config.seed)
        model = self._new_model()
        self.origin = f"resumed from {resume}" if resume else self._initialise(model, weights)
        layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.criterion = self._new_criterion()
        self.optimizer = build_optimizer(self.model, config)
        self.scaler = torch.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = ModelEMA(self.model, config.optim.ema_decay, config.optim.ema_tau)
        self.progress = Progress()
        self.run_dir = self._open_run(resume)

    def _open_data(self) -> None:
        """Open both data sets; raises InputError for what is wrong with them."""
        self.train_set, self.val_set = self._dataset("train", training=True), self._dataset("val", training=False)
        self.train_loader, self.val_loader = self._loader(self.train_set), self._loader(self.val_set)

    @abc.abstractmethod
    def _dataset(self, part: str, training: bool) -> Data:
        """Return the frames of split list `part`."""

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
        """Judge the averaged weights on the validation frames; the result holds `score.key`."""

    @abc.abstractmethod
    def _about_model(self) -> str:
        """Return what is trained, and how large it is."""

    @abc.abstractmethod
    def _next_command(self, best: str) -> str:
        """Return the command that goes on with the best weights, at the path `best`, shell-quoted."""

    def _save_panel(self, path: Path) -> None:
        """Save pictures of the present weights' work to the archive `path`; by default none."""

    def _publish(self) -> None:
        """Copy a finished run's results to where others look for them; by default nowhere."""

    def fit(self) -> dict[str, Any]:
        """Train until the last epoch, or until `patience` epochs brought no better validation score.

        Returns {"run_dir", "best", "best_epoch", <score.key>, "epochs_trained", "seconds"}. A signal stops it
        at a batch edge with InterruptedRun, a loss that is not finite with NonFiniteLossError, before it is followed.
        """
        started = time.monotonic()
        config, progress = self.config, self.progress
        log = RunLog(self.run_dir, config, self.wandb_off, resumed_epoch=progress.epoch)
        printer = ProgressPrinter(config.epochs, len(self.train_loader), progress.batches, self.terms, self.score)
        with printer, StopSignal() as stop:
            try:
                while progress.epoch < config.epochs and not self._out_of_patience():
                    row = self._train_one_epoch(progress.epoch, log, printer, stop)
                    row |= self._validate()
                    self._finish_epoch(row, log)
                    printer.epoch(progress.epoch, row)
            finally:
                log.close()
        return self._close(time.monotonic() - started)

    def describe(self) -> str:
        """Return what is about to be trained, for the terminal."""
        return "\n".join([
            f"run      {self.run_dir}",
            f"data     {self.config.dataset.name}, split {self.split}: {len(self.train_set)} training frames, "
            f"{len(self.val_set)} validation frames",
            f"model    {self._about_model()}",
            f"weights  {self.origin}",
            f"device   {self.device}, {self.precision}, {torch.get_num_threads()} threads",
        ])

    def closing_lines(self, result: dict[str, Any]) -> str:
        """Return what was reached and where it lies, for the terminal."""
        best = result[self.score.key]
        scored = "n/a (nothing to validate on)" if best is None else f"{best:.3f}"
        stopped = "" if result["epochs_trained"] == self.config.epochs else ", stopped early"
        lines = [
            f"best validation {self.score.label} {scored} in epoch {result['best_epoch']} of {result['epochs_trained']}"
            f"{stopped}, {result['seconds'] / 60:.1f} min",
            *(f"  {path}" for path in (result["best"], *sorted(map(str, self.run_dir.glob("*.png"))))),
            f"next: {self._next_command(shlex.quote(result['best']))}",
        ]
        return "\n".join(lines)

    def _train_one_epoch(
        self, epoch: int, log: RunLog, printer: ProgressPrinter, stop: StopSignal
    ) -> dict[str, Any]:
        config, progress = self.config, self.progress
        self.model.train()
        self.train_loader.set_epoch(epoch)
        n_batches, accumulate = len(self.train_loader), config.optim.accumulate
        steps_per_epoch = math.ceil(n_batches / accumulate)
        sums, images, started = torch.zeros(len(self.terms)), 0, time.monotonic()
        for index, batch in enumerate(self.train_loader):
            set_learning_rate(self.optimizer, learning_rate(progress.step, steps_per_epoch, config))

            losses = self._terms_of(batch)
            self.scaler.scale(losses["total_loss"] / accumulate).backward()
            # The one wait for the device: with the backward pass under way, and before anything reaches the weights.
            terms = torch.stack([losses[name].detach() for name in self.terms]).cpu()
            self._refuse_non_finite(terms, batch)
            if (index + 1) % accumulate == 0 or index + 1 == n_batches:
                self._step()

            sums, images, progress.batches = sums + terms, images + len(batch["img_path"]), progress.batches + 1
            log.batch(epoch + 1, progress.batches, dict(zip(self.terms, terms.tolist(), strict=True)))
            printer.batch()
            self._stop_at_the_edge(stop)
        means = dict(zip(self.terms, (sums / n_batches).tolist(), strict=True))
        lr = self.optimizer.param_groups[0]["lr"]
        return {**means, "lr": lr, "images_per_s": images / (time.monotonic() - started)}

    def _stop_at_the_edge(self, stop: StopSignal) -> None:
        if stop.number is not None:
            resume = f"{self.command} --resume {shlex.quote(str(self.run_dir))}"
            way_on = f"the last finished epoch is saved; go on with: {resume}"
            if self.progress.epoch == 0:
                way_on = "no epoch was finished, so there is nothing to resume: start again"
            raise InterruptedRun(f"stopped by {signal.Signals(stop.number).name}; {way_on}", 128 + stop.number)

    def _refuse_non_finite(self, values: Tensor, batch: Mapping[str, Any]) -> None:
        """Raise NonFiniteLossError if total_loss, the first of a batch's terms [T], is not finite."""
        if not torch.isfinite(values[0]):
            terms = ", ".join(f"{name} {value:.4g}" for name, value in zip(self.terms, values.tolist(), strict=True))
            files = ", ".join(Path(path).name for path in batch["img_path"])
            raise NonFiniteLossError(
                f"the loss is not finite in epoch {self.progress.epoch + 1}: {terms}; files: {files}; look at them, "
                "or start again with a lower lr0 or run.precision=fp32"
            )

    def _step(self) -> None:
        self.scaler.unscale_(self.optimizer)
        clip_gradients(self.model.parameters(), self.config.optim.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.progress.step += 1

    def _validate(self) -> dict[str, Any]:
        """Score the averaged weights on the validation frames, and draw a panel every few epochs."""
        config, epoch = self.config, self.progress.epoch + 1
        last = epoch == config.epochs
        metrics = self._measure() if epoch % config.run.val_every == 0 or last else {}
        if config.run.panel_every and (epoch % config.run.panel_every == 0 or last):
            self._save_panel(self.run_dir / "panels" / f"epoch_{epoch:03}.npz")
        return metrics

    def _finish_epoch(self, row: dict[str, Any], log: RunLog) -> None:
        progress, key = self.progress, self.score.key
        progress.epoch += 1
        if key in row and progress.is_better(row[key]):
            progress.best_score, progress.best_epoch = row[key], progress.epoch
            where = {"task": self.task, "split": self.split, "run": self.run_dir.name}
            meta = {**where, "epoch": progress.epoch, "metrics": {f"val_{key}": row[key]}}
            save_model(self.run_dir / BEST, self.ema.model, self.config, meta)
        log.epoch(progress.epoch, progress.batches, row)
        save_last(self.run_dir, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(mode="json"),
            "config_hash": config_hash(self.config),
            "task": self.task,
            "run": self.run_dir.name,
            "split": self.split,
            "epoch": self.progress.epoch,
            "progress": self.progress.state(),
            "model": self.model.state_dict(),
            "ema": self.ema.model.state_dict(),
            "ema_updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state(),
        }

    def _open_run(self, resume: Path | None) -> Path:
        if resume is None:
            run_dir = new_run_dir(self.config, self.split, self.task)
            how = {"task": self.task, "device": str(self.device), "precision": self.precision}
            write_record(run_dir, self.config, self.split, **how)
            return run_dir
        if is_finished(resume):
            raise InputError(f"{resume}: this run is finished; nothing to resume")
        path, checkpoint = newest_checkpoint(resume)
        check_task(checkpoint, self.task, str(path))
        # Settings are compared, not their hash: a key that is newer than the checkpoint has its default in both.
        if config_from_dict(checkpoint["config"], f"{path}: config") != self.config:
            raise InputError(f"{path}: was made with other settings; resume without overrides, or start a new run")
        restore(self, checkpoint, str(path))
        return resume

    def _close(self, seconds: float) -> dict[str, Any]:
        progress = self.progress
        result = {
            "best": str(self.run_dir / BEST),
            "best_epoch": progress.best_epoch,
            self.score.key: progress.best_score,
            "epochs_trained": progress.epoch,
            "seconds": round(seconds, 1),
        }
        redraw(self.run_dir)
        finish_record(self.run_dir, result)
        self._publish()
        return {"run_dir": str(self.run_dir), **result}

    def _input(self, images: Tensor) -> Tensor:
        """Move images [B, 3, H, W] to the device as float in [0, 1], in the memory layout of the model."""
        images = as_float(images, self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.config.run.channels_last else images

    def _out_of_patience(self) -> bool:
        progress = self.progress
        return progress.best_epoch > 0 and progress.epoch - progress.best_epoch >= self.config.patience
