"""Training of the detector with its SR branch: what `TrainingLoop` leaves open, and nothing else."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_utils.config.sections import SIDE_MULTIPLE, Config
from data_utils.dataset import Batch, SREYOLODataset, collate, label_path
from data_utils.errors import InputError
from data_utils.lists import checked_train_list
from data_utils.loader import EpochLoader, Shard, make_loader
from data_utils.manifest import read_manifest
from data_utils.records import FrameResult, cxcywhn_to_xyxy
from evaluation.image_quality import ReconstructionQuality
from evaluation.metrics import logged_metrics
from evaluation.passes.predict import as_float, predict, store_pass
from evaluation.scoring.operating_points import best_f1
from models.checkpoint import DETECTION, weights_hash
from models.precision import autocast
from models.predictor import postprocess
from models.sr_branch import windows_of
from models.sre_yolo import SREYOLO, compile_detector, largest_stride, require_compiler
from training import distributed
from training.dry_run import switched_off
from training.loop import TrainingLoop
from training.loss import LOSS_COLUMNS, NonFiniteLossError, SREYOLOLoss
from training.optim import n_frozen_layers, part_rate_factor
from training.run.folder import copy_to_fixed_names
from training.run.log import Score
from training.run.state import BEST
from training.stages import initialise

# Multi-scale training of a plain detector: each batch at a side of its own. A control beside the SR branch.


def side_of_batch(config: Config, batch: int) -> int:
    """Return the input side, in pixels, of batch number `batch` (from 0); the same in every process and every run.

    Drawn evenly from the multiples of 32 px within imgsz_lr * (1 +- augment.multi_scale), imgsz_lr among them.
    """
    share, side = config.augment.multi_scale, config.imgsz_lr
    if not share:
        return side
    steps = int(share * side) // SIDE_MULTIPLE
    step = np.random.default_rng([config.seed, batch]).integers(-steps, steps + 1)
    return max(SIDE_MULTIPLE, side + int(step) * SIDE_MULTIPLE)


def resized(images: Tensor, side: int) -> Tensor:
    """Return images float [B, 3, S, S] at `side`, bilinear; boxes are over the frame's sides and need no change."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


# Picture panels: the arrays of a few validation frames, saved so that evaluation/plots.py can draw them again.


PANEL_CONF = 0.25


@torch.no_grad()
def save_panel(path: Path, model: SREYOLO, batch: Batch, device: torch.device, config: Config) -> None:
    """Run `model` (eval mode) on `batch` and save lr, sr, hr (uint8 RGB), truth_xyxy and pred in LR pixels to `path`.

    truth_xyxy is float32 [n, M, 4], pred float32 [n, K, 6] (corners, score, class), both padded with NaN.
    """
    lr_image = as_float(batch["lr_image"], device)
    decoded = model(lr_image, inference=True)
    assert isinstance(decoded, Tensor)
    raws = decoded.float().cpu().numpy()
    side, labels = lr_image.shape[-1], batch["labels"].numpy()
    found = [postprocess(raw, PANEL_CONF, config.eval.nms_iou, max_det=50) for raw in raws]
    truth = [cxcywhn_to_xyxy(labels[labels[:, 0] == index, 2:], side, side) for index in range(len(raws))]
    arrays = {
        "lr": _pixels(lr_image),
        "truth_xyxy": _padded(truth, 4),
        "pred": _padded([np.column_stack([d.boxes_xyxy, d.scores, d.class_ids]) for d in found], 6),
    }
    if "hr_image" in batch:
        arrays["hr"] = _pixels(as_float(batch["hr_image"], device))
    if model.sr_branch is not None:
        output = model(lr_image)
        assert isinstance(output, dict)
        arrays["sr"] = _pixels(output["sr_output"])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]


def _pixels(images: Tensor) -> np.ndarray:
    return (images.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _padded(rows: list[np.ndarray], width: int) -> np.ndarray:
    padded = np.full((len(rows), max((len(r) for r in rows), default=0), width), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


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
