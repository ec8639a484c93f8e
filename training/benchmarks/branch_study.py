"""Trainings of several branches side by side, to a flat PSNR curve: what a cheaper branch gives up, if anything.

`python -m training.benchmark branches`; `run_branch_study` is what the command calls.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from data_utils.processes import available_cores
from evaluation.child_process import TIME_IS_UP, Report, in_a_child
from evaluation.report.text import format_table
from models.checkpoint import pick_device
from training.benchmarks.branch_ledger import Shape
from training.trainer import Trainer

# name -> the branch, None for none. `deep` is the paper's decoder as configs/train.yaml has it.
VARIANTS: dict[str, Shape | None] = {
    "none": None,
    "deep": Shape("deep", "staged", 64, 2),
    "deep-8": Shape("deep", "staged", 64, 8),
    "deep-8-window": Shape("deep", "staged", 64, 8, window=0.2),
    "narrowing-8": Shape("deep", "narrowing", 64, 8),
    "narrowing-8-window": Shape("deep", "narrowing", 64, 8, window=0.35),
    "narrowing-8-wide-window": Shape("deep", "narrowing", 64, 8, window=0.45),
    "narrowing-4-window": Shape("deep", "narrowing", 64, 4, window=0.25),
    "narrowing-8-thin": Shape("deep", "narrowing", 32, 8),
    "direct-8-window": Shape("deep", "direct", 64, 8, window=0.35),
    "direct-8-thin": Shape("deep", "direct", 32, 8),
    "light": Shape("light", "staged", 64, 4),
}
LOGGED = ("psnr", "l_sr", "ap50", "ap50_small", "map50_95", "images_per_s")
CURVE_COLUMNS = ("variant", "seed", "epoch", *LOGGED)
SUMMARY_COLUMNS = (
    "variant", "seed", "epochs", "psnr", "psnr_behind_deep", "psnr_gain_of_last_fifth", "psnr_bicubic", "ap50",
    "ap50_small", "map50_95", "images_per_s", "left_out",
)  # fmt: skip
LAST_EPOCHS = 5  # averaged in the summary, so that no epoch is picked
REFERENCE = "deep"


@dataclass(frozen=True)
class Training:
    """One training of the study."""

    variant: str
    config: Config
    split: int
    device: str

    @property
    def log(self) -> Path:
        """The table of its epochs."""
        return Path(self.config.run.results_dir) / "runs" / str(self.config.run.name) / "log.csv"


def run_branch_study(
    config: Config,
    split: int,
    device_name: str,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = (42,),
    epochs: int | None = None,
    jobs: int = 1,
    seconds: float = 3600.0,
    notes: Mapping[str, Any] | None = None,
    save: Path | None = None,
) -> list[dict[str, Any]]:
    """Train each variant with each seed, `jobs` at a time, each for at most `seconds`; print and save what came out.

    Saved into the folder `save`: branch_curves_<device>.csv (a row an epoch), branch_study_<device>.csv and .json (a
    row a training; see `summarise`). A training that was stopped keeps its finished epochs, and its row says so.
    epochs: default the config's. Returns the summary. Raises InputError for variants or a device that are not there.
    """
    unknown = sorted(set(variants) - set(VARIANTS))
    if unknown:
        raise InputError(f"variants: {', '.join(unknown)}: not among {', '.join(VARIANTS)}")
    device = pick_device(device_name)
    trainings = [_training(config, v, seed, split, device.type, epochs) for seed in seeds for v in variants]
    taken = [str(each.log.parent) for each in trainings if each.log.parent.exists()]
    if taken:
        raise InputError(f"{taken[0]}: this run exists; move it away, or set run.results_dir to another folder")
    threads = max(available_cores() // jobs, 1)
    with ThreadPoolExecutor(jobs) as pool:
        ends = list(pool.map(lambda each: in_a_child(train, each, seconds, threads), trainings))
    curves = {(each.variant, each.config.seed): read_log(each.log) for each in trainings}
    reasons = [f"{reason} ({seconds:g} s)" if reason == TIME_IS_UP else reason for _, reason in ends]
    rows = summarise(curves, dict(zip(curves, reasons, strict=True)))
    print(format_table(SUMMARY_COLUMNS, [[_cell(row.get(name)) for name in SUMMARY_COLUMNS] for row in rows]))
    if save:
        lines = [
            {"variant": variant, "seed": seed, "epoch": row["epoch"], **{name: row.get(name) for name in LOGGED}}
            for (variant, seed), log in curves.items()
            for row in log
        ]
        about = {**(notes or {}), "jobs": jobs, "threads_each": threads, "split": split, "seconds": seconds,
                 "epochs": trainings[0].config.epochs, "imgsz": config.imgsz_lr, "batch": config.batch_size,
                 "psnr_frames": config.run.sr_log_frames, "size_reference": config.eval.size_reference}  # fmt: skip
        write_csv(save / f"branch_curves_{device.type}.csv", CURVE_COLUMNS, lines)
        write_csv(save / f"branch_study_{device.type}.csv", SUMMARY_COLUMNS, rows)
        write_text(save / f"branch_study_{device.type}.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
    return rows


def train(training: Training, report: Report) -> None:
    """Train one variant, in the process it is called in."""
    report(Trainer(training.config, training.split, device=training.device, wandb_off=True).fit())


def read_log(path: Path) -> list[dict[str, float]]:
    """Read a run's log.csv, empty cells left out; no rows where no epoch was finished."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


def summarise(
    curves: Mapping[tuple[str, int], Sequence[Mapping[str, float]]], reasons: Mapping[tuple[str, int], str]
) -> list[dict[str, Any]]:
    """Return a row for each (variant, seed): means over the last `LAST_EPOCHS` epochs of its log.

    psnr_behind_deep: dB below `deep` with the same seed. psnr_gain_of_last_fifth: that mean less the one a fifth of the
    epochs earlier; a curve is flat when it is near 0.
    """
    rows = []
    for (variant, seed), log in curves.items():
        row: dict[str, Any] = {"variant": variant, "seed": seed, "epochs": len(log), "left_out": reasons[variant, seed]}
        row |= {name: _mean(log, name) for name in ("psnr", "psnr_bicubic", *LOGGED[2:])}
        deep = _mean(curves.get((REFERENCE, seed), ()), "psnr")
        before = _mean(log[: len(log) - len(log) // 5], "psnr")
        if row["psnr"] is not None and deep is not None:
            row["psnr_behind_deep"] = round(deep - row["psnr"], 4)
        if row["psnr"] is not None and before is not None:
            row["psnr_gain_of_last_fifth"] = round(row["psnr"] - before, 4)
        rows.append({name: row.get(name) for name in SUMMARY_COLUMNS})
    return rows


def _training(config: Config, variant: str, seed: int, split: int, device: str, epochs: int | None) -> Training:
    shape, epochs = VARIANTS[variant], epochs or config.epochs
    own = override_config(config, [
        *(shape.settings() if shape else ["sr_decoder=none"]), f"seed={seed}", f"epochs={epochs}",
        f"patience={epochs}", f"run.name=branch_{variant}_seed{seed}", "run.fixed_copies=false", "run.panel_every=0",
    ])  # fmt: skip
    return Training(variant, own, split, device)


def _mean(log: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [row[name] for row in log[-LAST_EPOCHS:] if name in row]
    return round(statistics.mean(values), 4) if values else None


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
