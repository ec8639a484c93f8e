"""What a run would train on, told without importing torch; and whether its model and weights would be refused."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from data_utils.config.sections import SIDE_MULTIPLE, Config, DatasetSection, is_file
from data_utils.errors import InputError
from data_utils.lists import checked_train_list, read_labels_if_needed, read_split_list
from training.stages import Plan, Stage, plan_stages


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
        there = [f"split{number}" for number in dataset.split_numbers()]
        known = f" (found: {', '.join(there)})" if there else ""
        raise InputError(
            f"{dataset.split_list(split, missing[0])}: no such split list{known}; put your frames into {dataset.raw} "
            f"and run `python -m data_utils.prepare --config {shlex.quote(config_path)}`, or run `make demo` for drawn "
            "data"
        )
    if not dataset.train_list(split).is_file():
        raise InputError(
            f"{dataset.train_list(split)}: no such list, and dataset.balanced = true trains on it; run "
            f"`python -m data_utils.balance --config {shlex.quote(config_path)} --split {split}`"
        )


def what_is_missing(config: Config) -> str | None:
    """Return, in one line, what stands in the way of the stages that a run with these settings rests on, or None."""
    try:
        stages = plan_stages(config).stages
        return next((f"stage {stage.name}: {lack}" for stage in stages if (lack := _lacks(stage))), None)
    except InputError as error:
        return str(error)


def absent_weights(config: Config) -> str | None:
    """Return the file that a run's first weights should come from, when no stage makes it and it is not there yet."""
    plan = plan_stages(config)
    sources = [source for source in (plan.detector, plan.branch) if source and is_file(source)]
    return next((s for s in sources if plan.stage_of(s) is None and not Path(s).is_file()), None)


def _lacks(stage: Stage) -> str | None:
    """Return what the data of a stage that is not finished lack, or None."""
    if stage.state() != "finished":
        try:
            require_prepared(stage.config.dataset, stage.split, stage.config_path)
        except InputError as error:
            return str(error)
    return None


def rehearse(
    config: Config, weights: str | None, device: str, resume: Path | None = None, *, anew: bool = False
) -> None:
    """Raise what a run of these settings would raise of its detector, first weights and device; nothing is written.

    resume: the run that would go on, with its own weights; anew: also a finished one (`--accept-changes`).
    """
    from models.checkpoint import load_state, pick_device
    from models.precision import pick_precision
    from models.sre_yolo import SREYOLO, require_compiler
    from training.run.resume import refuse_finished
    from training.run.state import newest_checkpoint
    from training.stages import initialise

    chosen = pick_device(device)
    pick_precision(config.run.precision, chosen, training=True)
    if config.run.compile:
        require_compiler(chosen)
    model = SREYOLO(config)
    if resume is None:
        initialise(model, config, weights, rehearsal=True)
        return
    refuse_finished(resume, anew)
    path, checkpoint = newest_checkpoint(resume)
    load_state(model, checkpoint["model"], str(path))


def refusal(config: Config) -> str | None:
    """Return, in one line, why a run's detector or first weights would be refused, or None."""
    try:
        rehearse(config, None, "cpu")
    except InputError as error:
        return str(error)
    return None


def describe_run(config: Config, split: int, weights: str | None, *, resumed: bool = False) -> str:
    """Return the lines `train.py --dry-run` prints; raises InputError for data that training would refuse.

    weights: what replaces `pretrain`, or, for a `resumed` run, where all of its weights come from.
    """
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
        labels = read_labels_if_needed(images, config)
        boxes, healthy = sum(map(len, labels)), sum(len(frame) == 0 for frame in labels)
        read = f"{boxes} boxes, {healthy} frames without a box" if config.detects else "labels are not read"
        lines.append(f"{part:<10} {len(images)} frames, {read}   ({path})")
        if balanced:
            unique = len(set(images))
            lines.append(f"balanced   {unique} different frames, {len(images) - unique} lines repeat rare classes")
        if part == "train":
            steps = math.ceil(len(images) / config.batch_size)
    plan = plan_stages(config, None if resumed else weights)
    origin, branch_origin = (weights, weights) if resumed else (_source(plan, s) for s in (plan.detector, plan.branch))
    run_dir = Path(config.run.results_dir) / "runs" / (config.run.name or f"{dataset.name}_split{split}_<time>")
    lines += [
        *([] if resumed else _stages(plan)),
        f"detector   {config.model.detector} at {config.imgsz_lr} px, weights: {origin}",
        f"branch     {_branch(config)}" + (f", weights: {branch_origin}" if config.has_branch else ""),
        f"learning   {_what_learns(config)}",
        f"loss       {_loss(config)}",
        f"schedule   {config.epochs} epochs of {steps} batches of {config.batch_size}, {config.optimizer} "
        f"lr {config.lr0:g} -> {config.lr0 * config.lrf:g}, patience {config.patience}",
        *(f"note       {text}" for text in switched_off(config)),
        f"output     {'the folder of that run' if resumed else run_dir}",
        "dry run: nothing was trained or written",
    ]
    return "\n".join(lines)


def switched_off(config: Config) -> list[str]:
    """Return, in a clause each, what these settings keep from ever happening in the run, with the keys that do it."""
    epochs, augment, optim, val_every = config.epochs, config.augment, config.optim, config.run.val_every
    closed, share = augment.close_mosaic, augment.multi_scale
    unfreeze, warmup = optim.unfreeze_epoch, optim.warmup_epochs
    rules = [
        (augment.mosaic and closed >= epochs, f"mosaic is off for the whole run: augment.close_mosaic = {closed}"),
        (config.patience >= epochs, f"nothing ends the run early: patience = {config.patience}"),
        (1 < epochs <= val_every, f"only the last epoch is validated: run.val_every = {val_every}"),
        (warmup >= epochs, f"the learning rate only rises: optim.warmup_epochs = {warmup:g}"),
        ((unfreeze or 0) > epochs, f"what is frozen stays so: optim.unfreeze_epoch = {unfreeze}"),
        (unfreeze == 1, f"nothing is frozen in any epoch: optim.freeze = {optim.freeze}, optim.unfreeze_epoch = 1"),
    ]
    found = [f"{text}, epochs = {epochs}" for holds, text in rules if holds]
    if share and share * config.imgsz_lr < SIDE_MULTIPLE:
        shown = f"augment.multi_scale = {share:g}, imgsz_lr = {config.imgsz_lr}, steps of {SIDE_MULTIPLE} px"
        found.append(f"all batches have one side: {shown}")
    if not config.detects:
        found.append(f"labels, c2, c3 and c4 are not used: stages.train = {config.stages.train}")
    return found + _without_effect(config)


def _without_effect(config: Config) -> list[str]:
    """Name the settings of the branch that differ from their defaults and that this run has no use for."""
    keys = ("loss.sr_target", "optim.lr_branch", "model.branch_window", "model.branch_margin", "model.upsampler",
            "model.branch_checkpointing")  # fmt: skip
    why = "sr_decoder = none" if config.sr_decoder == "none" else "c1 = 0"
    if config.has_branch:
        keys, why = ("model.upsampler",) if config.sr_decoder == "light" else (), "sr_decoder = light"
    changed = []
    for key in keys:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        if value != type(getattr(config, section)).model_fields[name].default:
            changed.append(f"{key} = {value}")
    return [f"without effect: {', '.join(changed)}, because {why}"] if changed else []


def _branch(config: Config) -> str:
    if not config.has_branch:
        return "none: plain detector training"
    model, layers = config.model, "-".join(map(str, config.sr_layers))
    shape = f"fused at stride {model.fusion_stride}, width {model.branch_width}"
    blocks = f", {config.sr_resblocks} blocks, {model.upsampler} upsampler" if config.sr_decoder == "deep" else ""
    return f"{config.sr_decoder} on layers {layers}, {shape}{blocks}, HR {config.imgsz_hr} px"


def _stages(plan: Plan) -> list[str]:
    """Say of each earlier run how it stands, and what its data lack."""
    lines = []
    for number, stage in enumerate(plan.stages, start=1):
        state, lack = stage.state(), _lacks(stage)
        then = f", but {lack}" if lack else "" if state == "finished" else ", before this run"
        lines.append(f"stage {number}    {stage} ({state}{then})")
    return lines


def _source(plan: Plan, source: str | None) -> str:
    if source is None:
        return "random"
    made = not is_file(source) or plan.stage_of(source) is not None  # the official weights are fetched, stages trained
    return source if made or Path(source).is_file() else f"{source} (no such file)"


def _what_learns(config: Config) -> str:
    optim = config.optim
    parts = {
        "all": "everything",
        "branch": "the branch; the whole detector is frozen, BatchNorm included",
        "branch+backbone": f"the branch, and the detector's layers 0 to {config.sr_layers[1]}",
    }
    text = parts[config.stages.train]
    if optim.freeze:
        until = f"until epoch {optim.unfreeze_epoch}" if optim.unfreeze_epoch else "throughout"
        text += f"; the detector's first {optim.freeze} layers are frozen {until}, BatchNorm included"
    factors = {"backbone": optim.lr_backbone, "neck and head": optim.lr_head, "branch": optim.lr_branch}
    if set(factors.values()) != {1.0}:
        text += "; lr " + ", ".join(f"{part} {config.lr0 * factor:g}" for part, factor in factors.items())
    return text


def _loss(config: Config) -> str:
    if not config.detects:
        return f"{config.c1:g} L_SR, no detection terms; the best epoch is the one with the highest PSNR"
    weights = (config.c1, config.c2, config.c3, config.c4)
    terms = ("L_SR", "L_bbox", "L_dfl", "L_cls")
    return " + ".join(f"{w:g} {t}" for w, t in zip(weights, terms, strict=True)) + f" ({config.loss.loss_scale})"
