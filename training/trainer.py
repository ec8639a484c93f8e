"""Training of the detector with its SR branch: what `TrainingLoop` leaves open, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data_utils.dataset import Batch, EpochLoader, SREYOLODataset, collate, make_loader
from data_utils.manifest import read_manifest
from data_utils.splitting.split_list import checked_train_list
from evaluation.metrics import quick_validate
from evaluation.predictions import as_float
from models.precision import autocast
from models.sr_window import windows_of
from models.sre_yolo import SREYOLO
from models.weights import DETECTION
from training.loop import NonFiniteLossError, TrainingLoop
from training.loss import LOSS_COLUMNS, SREYOLOLoss
from training.panels import save_panel
from training.pretrain import initialise
from training.progress import Score
from training.run_folder import copy_to_fixed_names

__all__ = ["NonFiniteLossError", "Trainer"]

PANEL_FRAMES = 4


class Trainer(TrainingLoop[SREYOLO, SREYOLODataset]):
    """Trains SRE-YOLO on one split of one config; everything it writes lies in `run_dir`.

    weights: initial detector weights, overriding `pretrain`. resume: the run folder to go on with. Raises InputError
    for missing data, weights or devices before anything is written.
    """

    task, command = DETECTION, "python train.py"
    score, terms = Score("ap50", "AP50"), LOSS_COLUMNS

    def _open_data(self) -> None:
        super()._open_data()
        manifest = self.config.dataset.manifest
        self.sizes = read_manifest(manifest) if manifest.exists() else {}

    def _dataset(self, part: str, training: bool) -> SREYOLODataset:
        config = self.config
        data = config.dataset
        split_list = checked_train_list(data, self.split) if training else data.split_list(self.split, part)
        hr_images, repeats = data.hr_images if config.has_branch else None, training and data.balanced
        return SREYOLODataset(split_list, hr_images, augment=training, config=config, uint8=True, repeats=repeats)

    def _loader(self, dataset: SREYOLODataset) -> EpochLoader:
        config, training = self.config, dataset.augment
        batch_size = config.batch_size if training else config.eval.batch_size or config.batch_size
        return make_loader(dataset, batch_size, workers=config.run.workers, shuffle=training, seed=config.seed)

    def _new_model(self) -> SREYOLO:
        return SREYOLO(self.config)

    def _initialise(self, model: SREYOLO, weights: str | None) -> str:
        return initialise(model, self.config, weights)

    def _new_criterion(self) -> SREYOLOLoss:
        config = self.config
        return SREYOLOLoss(self.model, config.c1, config.c2, config.c3, config.c4, config.loss.loss_scale)

    def _terms_of(self, batch: Batch) -> dict[str, Tensor]:
        targets = {"labels": batch["labels"].to(self.device, non_blocking=True)}
        windows = None
        if "hr_image" in batch:
            windows = windows_of(self.config, len(batch["img_path"]), step=self.progress.batches)
            hr_image = batch["hr_image"] if windows is None else windows.target(batch["hr_image"])
            targets["hr_image"] = as_float(hr_image, self.device)
        with autocast(self.precision, self.device):
            output = self.model(self._input(batch["lr_image"]), windows=windows)
        return self.criterion(output, targets)

    def _measure(self) -> dict[str, Any]:
        return quick_validate(
            self.ema.model,
            self.val_loader,
            self.device,
            self.config,
            self.sizes,
            precision=self.precision,
            sr_frames=self.config.run.sr_log_frames if self.config.has_branch else 0,
        )

    def _about_model(self) -> str:
        counts = self.model.count_params()
        return f"{self.config.model.detector}, {counts['backbone']:,} parameters, branch {counts['sr_branch']:,}"

    def _next_command(self, best: str) -> str:
        return f"python evaluate.py --weights {best} --split {self.split}"

    def _save_panel(self, path: Path) -> None:
        save_panel(path, self.ema.model, self._panel_batch(), self.device, self.config)

    def _publish(self) -> None:
        if self.config.run.fixed_copies:
            copy_to_fixed_names(self.run_dir, self.config, self.split)

    def _panel_batch(self) -> Batch:
        """A few validation frames from all over the list, with boxes if any have some."""
        with_boxes = [index for index, labels in enumerate(self.val_set.labels) if len(labels)]
        candidates = with_boxes or range(len(self.val_set))
        chosen = np.linspace(0, len(candidates) - 1, min(PANEL_FRAMES, len(candidates))).round().astype(int)
        return collate([self.val_set[candidates[index]] for index in chosen])
