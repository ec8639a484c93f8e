"""Ultralytics' trainer, ours, the bare steps and the loader alone, measured in turn on the same frames."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from data_utils.processes import start_worker
from evaluation.cost import describe_machine
from evaluation.report.text import format_table
from models import hardware
from models.checkpoint import pick_device
from training.benchmarks.frame_copy import copy_frames
from training.benchmarks.sides import Job, measure

COLUMNS = (
    *("side", "precision", "compile", "imgsz", "batch"),
    *("images_per_s", "lowest", "highest", "peak_mb", "threads", "rounds", "missing"),
)
RATIOS = ("ratio", "precision", "imgsz", "batch", "of_medians", "lowest", "highest")
EPOCHS = {"cpu": 3, "cuda": 6}  # of a trainer in each round, the first to warm up
SECONDS = {"cpu": 6.0, "cuda": 2.0}  # the bare steps and the loader alone, at least


@dataclass(frozen=True)
class Row:
    """One line of the table; `values` gets images/s of each round, `missing` why one failed and none followed."""

    side: str
    precision: str
    compiled: bool
    side_px: int
    batch: int
    values: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The row's name for the terminal."""
        compiled = " compiled" if self.compiled else ""
        return f"{self.side} {self.precision}{compiled}, {self.side_px} px x {self.batch}"

    def cells(self) -> dict[str, Any]:
        """Return the row as it is saved: the median over the rounds, their lowest and highest; None for no round."""
        values = [round(value, 1) for value in self.values]
        median = round(statistics.median(values), 1) if values else None
        numbers = (median, min(values, default=None), max(values, default=None), max(self.peaks, default=None))
        counts = (max(self.threads, default=None), len(values), *(self.missing or [None]))
        names = (self.side, self.precision, self.compiled, self.side_px, self.batch)
        return dict(zip(COLUMNS, (*names, *numbers, *counts), strict=True))


def run_speed(
    config: Config,
    split: int,
    device_name: str,
    sizes: Sequence[tuple[int, int]],
    *,
    rounds: int,
    epochs: int | None,
    seconds: float | None,
    limit: int | None,
    with_compile: bool,
    precisions: Sequence[str] | None,
    save: Path | None,
) -> int:
    """Measure, print, and save as JSON and CSV into the folder `save`; `sizes` are (side in pixels, batch).

    A round is `epochs` of each trainer and at least `seconds` of the bare steps and of loading. limit: training frames
    used at most. The files are written anew after each measurement, so that a command that is cut off leaves what it
    had found. A row that fails says why in the table; returns how many did.
    """
    device = pick_device(device_name)
    rows = planned_rows(device, sizes, with_compile=with_compile, precisions=precisions)
    epochs, seconds = epochs or EPOCHS[device.type], seconds or SECONDS[device.type]
    notes = describe_machine(device, "training.benchmark") | {
        "split": split, "epochs_a_round": epochs, "seconds_a_round": seconds, "workers": str(config.run.workers),
        "rounds_asked_for": rounds, "native_bf16": has_bf16(device),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="sre-yolo-speed-") as scratch:
        sets = prepare_copies(config, split, Path(scratch), sizes, limit)
        notes["frames"] = {f"{side}x{batch}": len(_listed(each, split)) for (side, batch), each in sets.items()}
        for _ in _measured_in_turn(rows, sets, split, device.type, rounds, epochs, seconds):
            if save:
                _save(save, device.type, notes, rows)
    print(_as_table(COLUMNS, [row.cells() for row in rows]), _as_table(RATIOS, ratios_of(rows)), sep="\n\n")
    if not has_bf16(device):
        print("\nbf16 is not measured: this device has no native bf16, and emulated it is slower than fp32")
    return sum(bool(row.missing) for row in rows)


def _save(folder: Path, device_type: str, notes: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write what has been found so far: rows that were measured, or that failed."""
    lines, ratios = [row.cells() for row in rows if row.values or row.missing], ratios_of(rows)
    record = {**notes, "rows": lines, "ratios": ratios}
    write_text(folder / f"speed_{device_type}.json", json.dumps(record, indent=1))
    write_csv(folder / f"speed_{device_type}.csv", COLUMNS, lines)
    write_csv(folder / f"speed_{device_type}_ratios.csv", RATIOS, ratios)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bf16 by itself."""
    return hardware.cuda_has_bf16() if device.type == "cuda" else hardware.cpu_has_bf16()


def planned_rows(
    device: torch.device,
    sizes: Sequence[tuple[int, int]],
    *,
    with_compile: bool,
    precisions: Sequence[str] | None = None,
) -> list[Row]:
    """Return the rows to measure: `precisions`, or all at the first size and the fastest alone at the others.

    On a CPU ultralytics trains in fp32 only, there in its own number of threads and in ours. Compiled rows are ours,
    in the fastest precision.
    """
    fastest = "bf16" if has_bf16(device) else "fp32"
    rows = []
    for number, (side, batch) in enumerate(sizes):
        for precision in dict.fromkeys(precisions or (["fp32", fastest] if number == 0 else [fastest])):
            theirs = ["ultralytics"] if precision == "fp32" or device.type == "cuda" else []
            theirs += ["ultralytics, our threads"] if precision == "fp32" and device.type == "cpu" else []
            rows += [Row(name, precision, False, side, batch) for name in (*theirs, "ours", "bare")]
        if with_compile:
            rows.append(Row("ours", fastest, True, side, batch))
        rows.append(Row("loader", "-", False, side, batch))
    return rows


def prepare_copies(
    config: Config, split: int, folder: Path, sizes: Sequence[tuple[int, int]], limit: int | None = None
) -> dict[tuple[int, int], Config]:
    """Copy the frames once for each size; the training list is cut to whole batches of every size."""
    multiple = math.lcm(*(batch for _, batch in sizes))
    sets = {}
    for side, batch in sizes:
        copied = copy_frames(config, split, folder / f"{side}x{batch}", side, ("train", "val"), multiple, limit)
        sets[side, batch] = override_config(copied, [f"batch_size={batch}", "augment.close_mosaic=0"])
    return sets


def ratios_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Compare ours with ultralytics' trainer, with the bare steps, and the loader with ours, round by round.

    On a CPU, ultralytics' one precision, fp32, is what both of ours are compared with. Rounds that one of two rows
    lacks are left out of their ratio.
    """
    found = []
    for ours in (row for row in rows if row.side == "ours"):
        alike = [row for row in rows if (row.side_px, row.batch) == (ours.side_px, ours.batch)]
        theirs = [row for row in alike if row.side.startswith("ultralytics")]
        same = [row for row in theirs if row.precision == ours.precision] or theirs
        bare = [r for r in alike if r.side == "bare" and (r.precision, r.compiled) == (ours.precision, ours.compiled)]
        loader = [row for row in alike if row.side == "loader"]
        label = "ours (compiled)" if ours.compiled else "ours"
        pairs = [(f"{label} / {row.side}", ours, row) for row in (*same, *bare)]
        pairs += [(f"loader / {label}", row, ours) for row in loader]
        for name, upper, lower in pairs:
            both = list(zip(upper.values, lower.values, strict=False))
            if not both:
                continue
            each = [a / b for a, b in both]
            middle = statistics.median(a for a, _ in both) / statistics.median(b for _, b in both)
            numbers = (round(value, 2) for value in (middle, min(each), max(each)))
            place = (ours.precision, ours.side_px, ours.batch)
            found.append(dict(zip(RATIOS, (name, *place, *numbers), strict=True)))
    return found


def _measured_in_turn(
    rows: Sequence[Row],
    sets: Mapping[tuple[int, int], Config],
    split: int,
    device: str,
    rounds: int,
    epochs: int,
    seconds: float,
) -> Iterator[Row]:
    """Let the rows take turns, `rounds` times, and yield each after its turn; one that failed gets no other."""
    threads = torch.get_num_threads()
    with _Processes() as processes:
        for number in range(rounds):
            for row in (row for row in rows if not row.missing):
                copied = sets[row.side_px, row.batch]
                config = override_config(copied, [f"epochs={epochs}", f"run.compile={row.compiled}"])
                precision = row.precision if row.side != "loader" else "fp32"
                folder = Path(config.dataset.processed)
                job = Job(row.side, config, split, folder, device, precision, seconds, threads)
                try:
                    result = processes.measured(job)
                except (InputError, RuntimeError) as error:  # no compiler, no memory...: the other rows still count
                    row.missing.append(" ".join(str(error).split())[:300])
                    print(f"failed   {row.label}: {row.missing[0]}", file=sys.stderr, flush=True)
                else:
                    row.values.append(result["images_per_s"])
                    row.threads.append(result["threads"])
                    row.peaks.extend([result["peak_mb"]] if result["peak_mb"] else [])
                    print(f"round {number + 1}  {row.label:<44}{result['images_per_s']:9.1f} images/s", flush=True)
                yield row


class _Processes(contextlib.ExitStack):
    """A process for ultralytics' trainer and one for ours, which live on between turns; a dead one is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self._pools: dict[bool, ProcessPoolExecutor] = {}

    def measured(self, job: Job) -> dict[str, Any]:
        """Run `measure` in its side's process; raises RuntimeError when that process died, and what it raised."""
        theirs = job.side.startswith("ultralytics")
        if theirs not in self._pools:
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), start_worker)
            self._pools[theirs] = self.enter_context(pool)
        try:
            return self._pools[theirs].submit(measure, job).result()
        except BrokenProcessPool:
            del self._pools[theirs]
            raise RuntimeError(f"the process that measured {job.side} died, perhaps for want of memory") from None


def _listed(config: Config, split: int) -> list[str]:
    return config.dataset.split_list(split, "train").read_text(encoding="utf-8").splitlines()


def _as_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    return format_table(columns, [["" if row[name] is None else str(row[name]) for name in columns] for row in rows])
