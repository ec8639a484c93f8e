"""One row for each training of a study: the epoch that was kept, its numbers on validation and on the test list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_utils.errors import InputError
from data_utils.saved_json import finite, read_saved_json
from evaluation.plots import read_log
from evaluation.tables.gather import Study

VALIDATION = {"val_ap50": "ap50", "val_small": "ap50_small", "val_psnr": "psnr"}  # column -> that of log.csv
TEST = {"test_ap50": "ap50", "test_small": "ap50_small", "test_medium": "ap50_medium", "test_large": "ap50_large",
        "test_map50_95": "map50_95", "gflops": "gflops"}  # fmt: skip
TRAINING_COLUMNS = ("run", "seed", "dataset", "imgsz", "epochs", "best_epoch", *VALIDATION, *TEST, "seconds", "why")


def trainings(study: Study) -> Iterator[dict[str, Any]]:
    """Yield a row of `TRAINING_COLUMNS` for each run that the registry names and each seed that was asked for.

    PSNR in dB; GFLOPs of what remains at inference, at the run's side; seconds of training, None of one that was
    resumed; why: what is missing, where a training has no result.
    Runs of equal settings are one training and have the same numbers.
    """
    for run in study.registry:
        for seed, result in study.results(run).items():
            planned = study.planned[run]
            about = {"run": run, "seed": seed, "dataset": planned.dataset, "imgsz": planned.imgsz}
            yield {**about, **(_numbers(study.results_dir, result) if result else {"why": study.why_not(run, seed)})}


def _numbers(results_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    best, folder = result.get("best_epoch"), result.get("run")
    kept = _epoch(results_dir / folder / "log.csv", best) if isinstance(folder, str) and best else {}
    metrics = read_saved_json(results_dir / result["evaluations"].get("test", "")).get("metrics") or {}
    return {
        "epochs": result.get("epochs_trained"),
        "best_epoch": best,
        **{column: kept.get(name) for column, name in VALIDATION.items()},
        **{column: finite(metrics.get(name)) for column, name in TEST.items()},
        "seconds": result.get("seconds"),
    }


def _epoch(log_csv: Path, epoch: int) -> dict[str, float | None]:
    """Return an epoch's line of a training log; empty where it is not to be had."""
    try:
        columns, _ = read_log(log_csv)
        row = columns["epoch"].index(epoch)
    except (InputError, ValueError):
        return {}
    return {name: finite(values[row]) for name, values in columns.items()}
