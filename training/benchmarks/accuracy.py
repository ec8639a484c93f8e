"""Whether speed was bought with accuracy: both trainers, the same seeds, one scorer (our evaluation)."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from data_utils.processes import available_cores, start_worker
from evaluation.cost import describe_machine
from evaluation.metrics import logged_metrics
from evaluation.passes.evaluation_set import open_evaluation_set
from evaluation.passes.predict import predict
from evaluation.report.text import format_table
from models.backbone import ultralytics_module
from models.checkpoint import load_pretrained, pick_device
from models.precision import pick_precision
from models.sre_yolo import SREYOLO
from training.benchmarks.frame_copy import copy_frames
from training.benchmarks.ultralytics_side import train_ultralytics
from training.run.state import LAST
from training.trainer import Trainer

PARTS = ("val", "test")
SCORES = ("ap50", "map50_95")
SCORED = tuple(f"{part}_{score}" for part in PARTS for score in SCORES)
COLUMNS = ("side", "seed", "epochs", "precision", *SCORED, "missing")


@dataclass(frozen=True)
class Training:
    """One training of one side, on the frames copied for it alone."""

    side: str
    config: Config
    split: int
    folder: Path
    device: str
    threads: int


def run_accuracy(
    config: Config,
    split: int,
    device_name: str,
    seeds: Sequence[int],
    *,
    epochs: int | None,
    jobs: int,
    save: Path | None,
) -> int:
    """Train both sides once for each seed, `jobs` at a time; print and save the scores of the last epoch's weights.

    The files are written anew after each training. One that fails says why in the table, and the others go on;
    returns how many did.
    """
    device = pick_device(device_name)
    ultralytics_module("utils")  # writes its settings once, before several processes would at the same time
    epochs = epochs or config.epochs
    threads = max(available_cores() // jobs, 1)
    settings = [f"epochs={epochs}", f"patience={epochs}", f"run.val_every={epochs}"]  # only the end is scored
    with tempfile.TemporaryDirectory(prefix="sre-yolo-accuracy-") as scratch:
        trainings = []
        for seed in seeds:
            for side in ("ours", "ultralytics"):
                folder = Path(scratch) / f"{side}{seed}"
                copied = copy_frames(config, split, folder, config.imgsz_lr, ("train", *PARTS))
                own = override_config(copied, [*settings, f"seed={seed}"])
                trainings.append(Training(side, own, split, folder, device.type, threads))
        notes = describe_machine(device, "training.benchmark") | {"split": split, "jobs": jobs, "threads_each": threads}
        rows: list[dict[str, Any]] = []
        for row in _trained(trainings, jobs):
            rows = sorted([*rows, row], key=lambda each: (each["side"], each["seed"]))
            if save:
                _save(save, device.type, notes, rows)
    lines = [*rows, *mean_scores(rows)]
    print(format_table(COLUMNS, [[_cell(row.get(name)) for name in COLUMNS] for row in lines]))
    return sum("missing" in row for row in rows)


def _save(folder: Path, device_type: str, notes: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write what has been found so far."""
    means = mean_scores(rows)
    write_text(folder / f"accuracy_{device_type}.json", json.dumps({**notes, "rows": rows, "means": means}, indent=1))
    write_csv(folder / f"accuracy_{device_type}.csv", COLUMNS, [*rows, *means])


def train_and_score(training: Training) -> dict[str, Any]:
    """Train one side, and score the averaged weights of its last epoch, in fp32, on every part."""
    torch.set_num_threads(training.threads)
    device = torch.device(training.device)
    precision = _precision(training, device)
    with contextlib.redirect_stdout(io.StringIO()):
        if training.side == "ours":
            result = Trainer(training.config, training.split, device=training.device, wandb_off=True).fit()
            weights = Path(result["run_dir"]) / LAST
        else:
            weights = Path(train_ultralytics(
                training.config, training.split, training.folder, "ultralytics", precision=precision,
                device=training.device, save=True,
            )["last"])  # fmt: skip
    scores = score(weights, training.config, training.split, device)
    config = training.config
    return {"side": training.side, "seed": config.seed, "epochs": config.epochs, "precision": precision, **scores}


def score(weights: Path, config: Config, split: int, device: torch.device) -> dict[str, float | None]:
    """Score a weights file of either side; every tensor of the detector has to be in it."""
    model = SREYOLO(config)
    transfer = load_pretrained(model.backbone.detector, weights)
    assert not transfer.not_taken, f"{weights}: {transfer}"
    found = {}
    for part in PARTS:
        frames = open_evaluation_set(config, split, part)
        results = predict(model.to(device).eval(), frames.loader, device, config, frames.sizes)
        metrics = logged_metrics(results, config, None)
        found |= {f"{part}_{name}": metrics[name] for name in SCORES}
    return found


def mean_scores(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean of each side over its seeds, and ours minus theirs; nothing while their seeds differ."""
    scored = [row for row in rows if not row.get("missing")]
    seeds = [{row["seed"] for row in scored if row["side"] == side} for side in ("ours", "ultralytics")]
    if not seeds[0] or seeds[0] != seeds[1]:
        return []
    means = {
        side: {name: statistics.mean(row[name] for row in scored if row["side"] == side) for name in SCORED}
        for side in ("ours", "ultralytics")
    }
    difference = {name: means["ours"][name] - means["ultralytics"][name] for name in SCORED}
    lines = [{"side": side, "seed": "mean", **{n: round(v, 4) for n, v in means[side].items()}} for side in means]
    return [*lines, {"side": "ours - ultralytics", "seed": "mean", **{n: round(v, 4) for n, v in difference.items()}}]


def _trained(trainings: Sequence[Training], jobs: int) -> Iterator[dict[str, Any]]:
    """Train all, `jobs` at a time, and yield the row of each as it ends."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), start_worker) as pool:
        work = {pool.submit(train_and_score, training): training for training in trainings}
        for done in as_completed(work):
            config = work[done].config
            row = {"side": work[done].side, "seed": config.seed, "epochs": config.epochs}
            try:
                row = done.result()
            except BrokenProcessPool:
                row["missing"] = "a training process died, perhaps for want of memory; try --jobs 1"
            except (InputError, RuntimeError) as error:
                row["missing"] = " ".join(str(error).split())[:300]
            print(" ".join(f"{name} {_cell(value)}" for name, value in row.items()), flush=True)
            yield row


def _precision(training: Training, device: torch.device) -> str:
    """Ours trains as the config says; ultralytics in bf16 on CUDA where ours does, in fp32 else."""
    ours = pick_precision(training.config.run.precision, device, training=True).name
    return ours if training.side == "ours" or (ours == "bf16" and device.type == "cuda") else "fp32"


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
