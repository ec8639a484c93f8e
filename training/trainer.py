"""Training of the detector with its SR branch: what `TrainingLoop` leaves open, and nothing else."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data_utils.dataset import Batch, SREYOLODataset, collate, label_path
from data_utils.errors import InputError
from data_utils.loader import EpochLoader, Shard, make_loader
from data_utils.manifest import read_manifest
from data_utils.splitting.split_list import checked_train_list
from data_utils.types import FrameResult
from evaluation.image_quality import ReconstructionQuality
from evaluation.metrics import logged_metrics
from evaluation.operating_points import best_f1
from evaluation.predictions import as_float, predict
from evaluation.stored_pass import store_pass
from models.compilation import compile_detector, require_compiler
from models.precision import autocast
from models.sr_window import windows_of
from models.sre_yolo import SREYOLO, largest_stride
from models.weights import DETECTION, weights_hash
from training import distributed
from training.checkpoint import BEST
from training.dry_run import switched_off
from training.loop import TrainingLoop
from training.loss import LOSS_COLUMNS, SREYOLOLoss
from training.loss_watch import NonFiniteLossError
from training.multi_scale import resized, side_of_batch
from training.optim import n_frozen_layers, part_rate_factor
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
    _val_results: list[FrameResult] | None = None  # of the last validation, where boxes were looked for

    def fit(self) -> dict[str, Any]:
        """Train, with the detector's forward compiled if `run.compile` says so; see `TrainingLoop.fit`."""
        if self.config.run.compile:
            compile_detector(self.model, self.device)
        return super().fit()

    def _open_data(self) -> None:
        if self.config.run.compile:
            require_compiler(self.device)  # before anything is written
        super()._open_data()
        manifest = self.config.dataset.manifest
        self.sizes = read_manifest(manifest) if manifest.exists() else {}

    def _dataset(self, part: str, training: bool) -> SREYOLODataset:
        config = self.config
        data = config.dataset
        split_list = checked_train_list(data, self.split) if training else data.split_list(self.split, part)
        hr_images, repeats = data.hr_images if config.has_branch else None, training and data.balanced
        return SREYOLODataset(
            split_list, hr_images, augment=training, config=config, uint8=True, repeats=repeats, for_training=True
        )

    def _loader(self, dataset: SREYOLODataset) -> EpochLoader:
        config, training = self.config, dataset.augment
        batch_size = config.batch_size if training else config.eval.batch_size or config.batch_size
        self.shard = shard = Shard(distributed.rank(), distributed.world_size())
        if batch_size < shard.world_size:
            raise InputError(
                f"{'batch_size' if training else 'eval.batch_size'} = {batch_size}: shared among {shard.world_size} "
                "processes, so at least that"
            )
        workers, seed = config.run.workers, config.seed
        return make_loader(dataset, batch_size, workers=workers, shuffle=training, seed=seed, shard=shard)

    def _files(self, dataset: SREYOLODataset) -> list[Path]:
        images = dataset.image_paths
        labels = [path for path in map(label_path, images) if path.is_file()] if self.config.detects else []
        return [*images, *(dataset.hr_paths or ()), *labels]

    def _new_model(self) -> SREYOLO:
        return SREYOLO(self.config)

    def _initialise(self, model: SREYOLO, weights: str | None) -> str:
        self._initialised = initialise(model, self.config, weights)
        self._refuse_a_single_cell(model)
        return str(self._initialised)

    def _refuse_a_single_cell(self, model: SREYOLO) -> None:
        """Raise InputError where a training batch is one frame whose coarsest map is one cell: BatchNorm has no spread.

        Under synchronised BatchNorm the frames of all processes count.
        """
        config, n_frames, world = self.config, len(self.train_set), self.shard.world_size
        whole, rest = divmod(n_frames, config.batch_size)
        batches = [config.batch_size] * min(whole, 1) + [rest] * (rest >= world)  # see EpochBatches
        fewest = min(batches, default=0) // (1 if config.optim.sync_batch_norm else world)
        if config.detects and config.imgsz_lr == largest_stride(model) and fewest == 1:
            raise InputError(
                f"imgsz_lr = {config.imgsz_lr}: of {n_frames} frames in batches of {config.batch_size} a "
                "process gets a single one, whose coarsest map is one cell: BatchNorm finds no spread in it; take "
                f"imgsz_lr={2 * config.imgsz_lr}, or another batch_size"
            )

    def _record(self) -> dict[str, Any]:
        return {"initialised": self._initialised.record(), "switched_off": switched_off(self.config)}

    def describe(self) -> str:
        """Return what is about to be trained, and what its settings switch off; see `TrainingLoop.describe`."""
        return "\n".join([super().describe(), *(f"note     {text}" for text in switched_off(self.config))])

    def _rate_factor(self, name: str) -> float:
        return part_rate_factor(name, self.config.optim, self.model.backbone.n_backbone_layers)

    def _choose_what_learns(self, epoch: int) -> None:
        self.model.freeze_layers(n_frozen_layers(self.config, epoch, len(self.model.backbone.layers)))

    def _new_criterion(self) -> SREYOLOLoss:
        config = self.config
        return SREYOLOLoss(self.model, config.c1, config.c2, config.c3, config.c4, config.loss.loss_scale)

    def _terms_of(self, batch: Batch) -> dict[str, Tensor]:
        targets = {"labels": batch["labels"].to(self.device, non_blocking=True)}
        windows = None
        if "hr_image" in batch:
            windows = windows_of(self.config, len(batch["img_path"]), self.progress.batches, self.shard)
            hr_image = batch["hr_image"] if windows is None else windows.target(batch["hr_image"])
            targets["hr_image"] = as_float(hr_image, self.device)
        lr_image = resized(self._input(batch["lr_image"]), side_of_batch(self.config, self.progress.batches))
        with autocast(self.precision, self.device):
            output = self.model(lr_image, windows=windows)
        return self.criterion(output, targets)

    def _measure(self) -> dict[str, Any]:
        config, model = self.config, self.ema.model
        frames = max(1, config.run.sr_log_frames // distributed.world_size()) if config.has_branch else 0
        quality = ReconstructionQuality(frames, len(self.val_set))
        results = predict(
            model, self.val_loader, self.device, config, self.sizes, precision=self.eval_precision, quality=quality
        )
        # Each process scored its own frames; the measures need them all, in the list's order.
        place = {path.stem: number for number, path in enumerate(self.val_set.image_paths)}
        results = sorted(chain(*distributed.gathered(results)), key=lambda result: place[result.stem])
        quality = ReconstructionQuality.merged(distributed.gathered(quality))
        self._val_results = results
        return distributed.from_main(lambda: logged_metrics(results, config, quality, self.sizes))

    def _save_best(self, metrics: dict[str, Any], **more: Any) -> None:
        if self._val_results is None:
            super()._save_best(metrics, **more)
            return
        point = best_f1(self._val_results, self.config.iou_thresh, self.config.eval.max_det)
        super()._save_best(metrics, threshold=point.threshold if point.f1 else None, **more)
        epoch, sha256 = self.progress.epoch, weights_hash(self.ema.model.state_dict())
        about = {"weights": str(self.run_dir / BEST), "weights_sha256": sha256, "epoch": epoch}
        about |= {"trained_split": self.split, "notes": []}
        store_pass(self.run_dir, self._val_results, self.config, self.split, "val", self.sizes, about)

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
