"""The training loop."""

from __future__ import annotations

import math
import shlex
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_utils.config import config_hash
from data_utils.config_sections import Config
from data_utils.dataset import Batch, EpochLoader, SREYOLODataset, collate, make_loader
from data_utils.errors import InputError, InterruptedRun, ResumableError
from data_utils.manifest import read_manifest
from data_utils.stop import StopSignal
from evaluation.metrics import quick_validate
from evaluation.plots import redraw
from evaluation.predictions import as_float
from models.precision import autocast, pick_precision
from models.sre_yolo import SREYOLO
from models.weights import pick_device, save_model
from training.checkpoint import BEST, newest_checkpoint, random_state, restore, save_last
from training.ema import ModelEMA
from training.loss import LOSS_COLUMNS, SREYOLOLoss
from training.optim import build_optimizer, clip_gradients, learning_rate, set_learning_rate
from training.panels import save_panel
from training.pretrain import initialise
from training.progress import Progress, ProgressPrinter
from training.run_folder import copy_to_fixed_names, finish_record, is_finished, new_run_dir, write_record
from training.run_log import RunLog

PANEL_FRAMES = 4
PSNR_FRAMES = 8  # of the validation set, each epoch; evaluate.py takes run.sr_metric_frames


class NonFiniteLossError(ResumableError):
    """The loss became NaN or infinite; nothing of that batch reached the weights."""


class Trainer:
    """Trains one split of one config; everything it writes lies in `run_dir`.

    weights: initial detector weights, overriding `pretrain`. resume: the run folder to go on with. Raises InputError
    for missing data, weights or devices before anything is written.
    """

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
        self.train_set, self.val_set = self._dataset("train", training=True), self._dataset("val", training=False)
        self.train_loader, self.val_loader = self._loader(self.train_set), self._loader(self.val_set)
        self.sizes = read_manifest(config.dataset.manifest) if config.dataset.manifest.exists() else {}

        torch.manual_seed(config.seed)
        model = SREYOLO(config)
        self.origin = f"resumed from {resume}" if resume else initialise(model, config, weights)
        layout = torch.channels_last if config.run.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=layout)  # pyright: ignore[reportCallIssue]
        self.criterion = SREYOLOLoss(self.model, config.c1, config.c2, config.c3, config.c4, config.loss.loss_scale)
        self.optimizer = build_optimizer(self.model, config)
        self.scaler = torch.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = ModelEMA(self.model, config.optim.ema_decay, config.optim.ema_tau)
        self.progress = Progress()
        self.run_dir = self._open_run(resume)

    def fit(self) -> dict[str, Any]:
        """Train until the last epoch, or until `patience` epochs brought no better validation AP50.

        Returns {"run_dir", "best", "best_epoch", "ap50", "epochs_trained", "seconds"}. A signal stops it at a batch
        edge with InterruptedRun, a loss that is not finite with NonFiniteLossError before the weights are touched.
        """
        started = time.monotonic()
        config, progress = self.config, self.progress
        log = RunLog(self.run_dir, config, self.wandb_off, resumed_epoch=progress.epoch)
        printer = ProgressPrinter(config.epochs, len(self.train_loader), progress.batches)
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
        counts = self.model.count_params()
        return "\n".join([
            f"run      {self.run_dir}",
            f"data     {self.config.dataset.name}, split {self.split}: {len(self.train_set)} training frames, "
            f"{len(self.val_set)} validation frames",
            f"model    {self.config.model.detector}, {counts['backbone']:,} parameters, branch {counts['sr_branch']:,}",
            f"weights  {self.origin}",
            f"device   {self.device}, {self.precision}, {torch.get_num_threads()} threads",
        ])

    def closing_lines(self, result: dict[str, Any]) -> str:
        """Return what was reached and where it lies, for the terminal."""
        scored = "n/a (no boxes to validate on)" if result["ap50"] is None else f"{result['ap50']:.3f}"
        stopped = "" if result["epochs_trained"] == self.config.epochs else ", stopped early"
        lines = [
            f"best validation AP50 {scored} in epoch {result['best_epoch']} of {result['epochs_trained']}{stopped}, "
            f"{result['seconds'] / 60:.1f} min",
            *(f"  {path}" for path in (result["best"], *sorted(map(str, self.run_dir.glob("*.png"))))),
            f"next: python evaluate.py --weights {shlex.quote(result['best'])} --split {self.split}",
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
        sums, images, started = torch.zeros(len(LOSS_COLUMNS)), 0, time.monotonic()
        for index, batch in enumerate(self.train_loader):
            set_learning_rate(self.optimizer, learning_rate(progress.step, steps_per_epoch, config))

            losses = self._loss(batch)
            self.scaler.scale(losses["total_loss"] / accumulate).backward()
            if (index + 1) % accumulate == 0 or index + 1 == n_batches:
                self._step()

            terms = torch.stack([losses[name].detach() for name in LOSS_COLUMNS]).cpu()
            sums, images, progress.batches = sums + terms, images + len(batch["img_path"]), progress.batches + 1
            log.batch(epoch + 1, progress.batches, dict(zip(LOSS_COLUMNS, terms.tolist(), strict=True)))
            printer.batch()
            self._stop_at_the_edge(stop)
        means = dict(zip(LOSS_COLUMNS, (sums / n_batches).tolist(), strict=True))
        lr = self.optimizer.param_groups[0]["lr"]
        return {**means, "lr": lr, "images_per_s": images / (time.monotonic() - started)}

    def _stop_at_the_edge(self, stop: StopSignal) -> None:
        if stop.number is not None:
            resume = f"python train.py --resume {shlex.quote(str(self.run_dir))}"
            way_on = f"the last finished epoch is saved; go on with: {resume}"
            if self.progress.epoch == 0:
                way_on = "no epoch was finished, so there is nothing to resume: start again"
            raise InterruptedRun(f"stopped by {signal.Signals(stop.number).name}; {way_on}", 128 + stop.number)

    def _loss(self, batch: Batch) -> dict[str, Tensor]:
        """Forward and loss of one batch; a loss that is not finite is refused before it reaches the weights."""
        targets = {"labels": batch["labels"].to(self.device, non_blocking=True)}
        if "hr_image" in batch:
            targets["hr_image"] = as_float(batch["hr_image"], self.device)
        with autocast(self.precision, self.device):
            output = self.model(self._images(batch))
        losses = self.criterion(output, targets)
        if not torch.isfinite(losses["total_loss"]):
            terms = ", ".join(f"{name} {float(losses[name].detach()):.4g}" for name in LOSS_COLUMNS)
            files = ", ".join(Path(path).name for path in batch["img_path"])
            raise NonFiniteLossError(
                f"the loss is not finite in epoch {self.progress.epoch + 1}: {terms}; files: {files}; look at them, "
                "or start again with a lower lr0 or run.precision=fp32"
            )
        return losses

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
        metrics: dict[str, Any] = {}
        if epoch % config.run.val_every == 0 or last:
            metrics = quick_validate(
                self.ema.model,
                self.val_loader,
                self.device,
                config,
                self.sizes,
                precision=self.precision,
                sr_frames=PSNR_FRAMES if config.has_branch else 0,
            )
        if config.run.panel_every and (epoch % config.run.panel_every == 0 or last):
            path = self.run_dir / "panels" / f"epoch_{epoch:03}.npz"
            save_panel(path, self.ema.model, self._panel_batch(), self.device, config)
        return metrics

    def _finish_epoch(self, row: dict[str, Any], log: RunLog) -> None:
        progress, config = self.progress, self.config
        progress.epoch += 1
        if "ap50" in row and progress.is_better(row["ap50"]):
            progress.best_ap50, progress.best_epoch = row["ap50"], progress.epoch
            meta = {"epoch": progress.epoch, "run": self.run_dir.name, "metrics": {"val_ap50": row["ap50"]}}
            save_model(self.run_dir / BEST, self.ema.model, config, meta)
        log.epoch(progress.epoch, progress.batches, row)
        save_last(self.run_dir, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "config": self.config.model_dump(mode="json"),
            "config_hash": config_hash(self.config),
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
            run_dir = new_run_dir(self.config, self.split)
            write_record(run_dir, self.config, self.split, device=str(self.device), precision=self.precision)
            return run_dir
        if is_finished(resume):
            raise InputError(f"{resume}: this run is finished; nothing to resume")
        path, checkpoint = newest_checkpoint(resume)
        if checkpoint["config_hash"] != config_hash(self.config):
            raise InputError(f"{path}: was made with other settings; resume without overrides, or start a new run")
        restore(self, checkpoint, str(path))
        return resume

    def _close(self, seconds: float) -> dict[str, Any]:
        progress = self.progress
        result = {
            "best": str(self.run_dir / BEST),
            "best_epoch": progress.best_epoch,
            "ap50": progress.best_ap50,
            "epochs_trained": progress.epoch,
            "seconds": round(seconds, 1),
        }
        redraw(self.run_dir)
        finish_record(self.run_dir, result)
        if self.config.run.fixed_copies:
            copy_to_fixed_names(self.run_dir, self.config, self.split)
        return {"run_dir": str(self.run_dir), **result}

    def _dataset(self, part: str, training: bool) -> SREYOLODataset:
        config = self.config
        split_list = config.dataset.split_list(self.split, part)
        hr_images = config.dataset.hr_images if config.has_branch else None
        return SREYOLODataset(split_list, hr_images, augment=training, config=config, uint8=True)

    def _loader(self, dataset: SREYOLODataset) -> EpochLoader:
        config, training = self.config, dataset.augment
        batch_size = config.batch_size if training else config.eval.batch_size or config.batch_size
        return make_loader(dataset, batch_size, workers=config.run.workers, shuffle=training, seed=config.seed)

    def _images(self, batch: Batch) -> Tensor:
        images = as_float(batch["lr_image"], self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.config.run.channels_last else images

    def _panel_batch(self) -> Batch:
        """A few validation frames from all over the list, with boxes if any have some."""
        with_boxes = [index for index, labels in enumerate(self.val_set.labels) if len(labels)]
        candidates = with_boxes or range(len(self.val_set))
        chosen = np.linspace(0, len(candidates) - 1, min(PANEL_FRAMES, len(candidates))).round().astype(int)
        return collate([self.val_set[candidates[index]] for index in chosen])

    def _out_of_patience(self) -> bool:
        progress = self.progress
        return progress.best_epoch > 0 and progress.epoch - progress.best_epoch >= self.config.patience
