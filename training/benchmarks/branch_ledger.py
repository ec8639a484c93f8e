"""The price of the SR branch: what every shape of it costs a training step, and what signal it gives for that.

`python -m training.benchmark ledger`. Each row is measured in processes of its own, under a time limit; what was not
reached says why. `run_ledger` is what the command calls.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.dataset import SREYOLODataset
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from evaluation.child_process import TIME_IS_UP, in_a_child
from evaluation.report.text import format_table
from models.checkpoint import pick_device
from models.precision import pick_precision
from training.benchmarks.branch_row import RowJob, measure_cost, measure_memory, measure_row, without_branch

SHAPE_COLUMNS = ("decoder", "upsampler", "width", "fusion_stride", "window", "checkpointing")
COLUMNS = (
    *SHAPE_COLUMNS,
    *("branch_params", "branch_gflops", "branch_gflops_step", "detector_gflops"),
    *("step_ratio", "step_ratio_lowest", "step_ratio_highest", "images_per_s", "images_per_s_without"),
    *("peak_mib", "peak_mib_without", "psnr", "psnr_bicubic", "grad_shallow", "grad_deep", "left_out"),
)
PRINTED = (
    *SHAPE_COLUMNS,
    *("branch_params", "branch_gflops", "step_ratio", "images_per_s", "peak_mib", "psnr", "grad_shallow", "grad_deep"),
    "left_out",
)
@dataclass(frozen=True)
class Shape:
    """A branch shape; `window` is the share of the frame's side reconstructed in a step."""

    decoder: str
    upsampler: str
    width: int
    fusion_stride: int
    window: float = 1.0
    checkpointing: bool = False

    def settings(self) -> list[str]:
        """Return it as config overrides."""
        return [
            f"sr_decoder={self.decoder}", f"model.upsampler={self.upsampler}", f"model.branch_width={self.width}",
            f"model.fusion_stride={self.fusion_stride}", f"model.branch_window={self.window}",
            f"model.branch_checkpointing={str(self.checkpointing).lower()}",
        ]  # fmt: skip

    def cells(self) -> dict[str, Any]:
        """Return it as the first columns of its row."""
        return {name: getattr(self, name) for name in SHAPE_COLUMNS}


WHOLE = (
    *(Shape("deep", "staged", 64, stride) for stride in (2, 4, 8)),
    *(Shape("deep", "narrowing", 64, stride) for stride in (2, 4, 8)),
    *(Shape("deep", "direct", 64, stride) for stride in (2, 4, 8)),
    *(Shape("deep", "direct", 32, stride) for stride in (2, 4, 8)),
    *(Shape("light", "staged", 64, stride) for stride in (2, 4, 8)),
)
CHEAPER = (
    Shape("deep", "staged", 64, 2, checkpointing=True),
    Shape("deep", "staged", 64, 2, window=0.1),
    Shape("deep", "staged", 64, 8, window=0.2),
    Shape("deep", "narrowing", 64, 4, window=0.25),
    Shape("deep", "narrowing", 64, 8, window=0.35),
    Shape("deep", "narrowing", 64, 8, window=0.4),
    Shape("deep", "direct", 64, 8, window=0.35),
    Shape("deep", "narrowing", 32, 8),
)
SHAPES = {"all": WHOLE + CHEAPER, "whole": WHOLE, "cheaper": CHEAPER}


def run_ledger(
    config: Config,
    split: int,
    device_name: str,
    *,
    steps: int = 100,
    turns: int = 5,
    row_seconds: float = 300.0,
    shapes: Sequence[Shape] = SHAPES["all"],
    notes: Mapping[str, Any] | None = None,
    save: Path | None = None,
) -> list[dict[str, Any]]:
    """Measure, print, and save as branch_price_<device>.csv and .json into the folder `save`; returns the rows.

    steps: of training before PSNR and gradients are taken. turns: timed steps of each side, on CUDA tens of steps. With
    both 0 only parameters and GFLOPs are counted, which needs no data, and the files are branch_costs_<side>.*.
    row_seconds: a row's measurements stop there; its `left_out` then says so. notes: machine, date and command for the
    JSON file. Raises InputError for a set that is not prepared or a device that is not there.
    """
    costs_only = not steps and not turns
    device = pick_device(device_name)
    precision = pick_precision(config.run.precision, device, training=True).name
    base = RowJob(config, split, device.type, precision, steps, turns)
    if costs_only:
        rows = [{**shape.cells(), **measure_cost(override_config(config, shape.settings()))} for shape in shapes]
    else:
        require_prepared(config, split)
        rows = _measured(base, shapes, row_seconds)
    shown = [name for name in PRINTED if any(row.get(name) is not None for row in rows)]
    print(format_table(shown, [[_cell(row.get(name)) for name in shown] for row in rows]))
    if save:
        stem = f"branch_costs_{config.imgsz_lr}" if costs_only else f"branch_price_{device.type}"
        about = {
            **(notes or {}), "seed": config.seed, "steps": steps, "turns": turns, "row_seconds": row_seconds,
            "imgsz": config.imgsz_lr, "batch": config.batch_size, "precision": precision, "device_type": device.type,
            "threads": torch.get_num_threads(), "validation_frames": config.run.sr_log_frames, "split": split,
        }  # fmt: skip
        write_text(save / f"{stem}.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
        columns = [name for name in COLUMNS if not costs_only or name in rows[0]]
        write_csv(save / f"{stem}.csv", columns, [_rounded(row, columns) for row in rows])
    return rows


def require_prepared(config: Config, split: int) -> None:
    """Raise InputError, here and not in the children, for a set that the measurements cannot read."""
    for part in ("train", "val"):
        frames = SREYOLODataset(config.dataset.split_list(split, part), config.dataset.hr_images, config=config)
        if part == "train" and len(frames) < config.batch_size:
            raise InputError(f"batch_size = {config.batch_size}: the training list has {len(frames)} frames only")


def _measured(base: RowJob, shapes: Sequence[Shape], seconds: float) -> list[dict[str, Any]]:
    plain, _ = in_a_child(measure_memory, replace(base, config=without_branch(base.config)), seconds)
    rows = []
    for shape in shapes:
        row = _row(shape, replace(base, config=override_config(base.config, shape.settings())), seconds)
        rows.append({**row, "peak_mib_without": plain.get("peak_mib")})
        print(f"{len(rows)}/{len(shapes)}", *(f"{name} {_cell(row.get(name))}" for name in PRINTED), flush=True)
    return rows


def _row(shape: Shape, job: RowJob, seconds: float) -> dict[str, Any]:
    started = time.monotonic()
    found: dict[str, Any] = {}
    reasons: list[str] = []
    # On CUDA one process does: its peak can be set back.
    for measure in (measure_row,) if job.device == "cuda" else (measure_memory, measure_row):
        part, reason = in_a_child(measure, job, max(seconds - (time.monotonic() - started), 0))
        found |= part
        if reason and reason not in reasons:
            reasons.append(f"{reason} ({seconds:g} s)" if reason == TIME_IS_UP else reason)
    expected = ("peak_mib", "branch_gflops", "step_ratio", *(("psnr",) if job.steps else ()))
    missing = [name for name in expected if name not in found]
    return {**shape.cells(), **found, "left_out": f"{', '.join(missing)}: {'; '.join(reasons)}" if reasons else ""}


def _rounded(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {name: float(f"{v:.5g}") if isinstance(v := row.get(name), float) else v for name in columns}


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
