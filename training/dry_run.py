"""What a run would train on, told without importing torch or touching anything."""

from __future__ import annotations

import math
from pathlib import Path

from data_utils.config_sections import Config
from data_utils.dataset_section import DatasetSection
from data_utils.errors import InputError
from data_utils.splitting.split_list import checked_train_list, read_all_labels, read_split_list


def require_prepared(dataset: DatasetSection, split: int, config_path: str) -> None:
    """Raise InputError, in one line with the ways on, when the split lists that training reads are not there."""
    missing = [part for part in ("train", "val") if not dataset.split_list(split, part).is_file()]
    if missing and not dataset.split.n_splits:
        raise InputError(
            f"{config_path}: dataset.split.n_splits = 0 makes {dataset.name} an external test set, which nothing "
            f"trains on; evaluate on it with `python evaluate.py --data {dataset.name}`, or set n_splits and prepare "
            "it again"
        )
    if missing:
        there = sorted(path.name for path in Path(dataset.splits).glob("split*"))
        known = f" (found: {', '.join(there)})" if there else ""
        raise InputError(
            f"{dataset.split_list(split, missing[0])}: no such split list{known}; put your frames into {dataset.raw} "
            f"and run `python -m data_utils.prepare --config {config_path}`, or run `make demo` for drawn data"
        )
    if not dataset.train_list(split).is_file():
        raise InputError(
            f"{dataset.train_list(split)}: no such list, and dataset.balanced = true trains on it; run "
            f"`python -m data_utils.balance --config {config_path} --split {split}`"
        )


def describe_run(config: Config, split: int, weights: str | None) -> str:
    """Return the lines `train.py --dry-run` prints; raises InputError for data that training would refuse."""
    dataset = config.dataset
    steps = 0
    lines = [f"data set   {dataset.name}, split {split}, classes: {', '.join(dataset.names)}"]
    for part in ("train", "val", "test"):
        path = dataset.split_list(split, part)
        if not path.is_file():
            continue
        balanced = part == "train" and dataset.balanced
        if balanced:
            path = checked_train_list(dataset, split)
        images = read_split_list(path, repeats=balanced)
        labels = read_all_labels(images, dataset.nc, allow_background=dataset.allow_background)
        boxes, healthy = sum(map(len, labels)), sum(len(frame) == 0 for frame in labels)
        lines.append(f"{part:<10} {len(images)} frames, {boxes} boxes, {healthy} frames without a box   ({path})")
        if balanced:
            unique = len(set(images))
            lines.append(f"balanced   {unique} different frames, {len(images) - unique} lines repeat rare classes")
        if part == "train":
            steps = math.ceil(len(images) / config.batch_size)
    origin = weights or config.pretrain or "random"
    run_dir = Path(config.run.results_dir) / "runs" / (config.run.name or f"{dataset.name}_split{split}_<time>")
    lines += [
        f"detector   {config.model.detector} at {config.imgsz_lr} px, weights: {origin}",
        f"branch     {_branch(config)}",
        f"loss       {_loss(config)}",
        f"schedule   {config.epochs} epochs of {steps} batches of {config.batch_size}, {config.optimizer} "
        f"lr {config.lr0:g} -> {config.lr0 * config.lrf:g}, patience {config.patience}",
        f"output     {run_dir}",
        "dry run: nothing was trained or written",
    ]
    return "\n".join(lines)


def _branch(config: Config) -> str:
    if not config.has_branch:
        return "none: plain detector training"
    model, layers = config.model, "-".join(map(str, config.sr_layers))
    shape = f"fused at stride {model.fusion_stride}, width {model.branch_width}"
    blocks = f", {config.sr_resblocks} blocks, {model.upsampler} upsampler" if config.sr_decoder == "deep" else ""
    return f"{config.sr_decoder} on layers {layers}, {shape}{blocks}, HR {config.imgsz_hr} px"


def _loss(config: Config) -> str:
    weights = (config.c1, config.c2, config.c3, config.c4)
    terms = ("L_SR", "L_bbox", "L_dfl", "L_cls")
    return " + ".join(f"{w:g} {t}" for w, t in zip(weights, terms, strict=True)) + f" ({config.loss.loss_scale})"
