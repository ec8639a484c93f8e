"""One evaluation from weights file to saved numbers; evaluate.py is its command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.atomic import write_csv, write_text
from data_utils.config_sections import Config
from evaluation.evaluation_set import evaluation_config, open_evaluation_set
from evaluation.metrics import evaluate_full
from evaluation.paper import paper_notes, paper_values
from evaluation.report import csv_rows, format_report
from models.weights import load_model, pick_device

CSV_COLUMNS = ("metric", "class", "value", "paper")


@dataclass(frozen=True)
class Outcome:
    """What an evaluation gave: the table as text, the numbers, and the files they were written to."""

    report: str
    metrics: dict[str, Any]
    files: tuple[Path, ...]


def evaluate_checkpoint(
    weights: Path,
    *,
    split: int = 1,
    data: str = "test",
    device_name: str = "auto",
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    save_csv: bool = False,
    fps_iters: int = 500,
    progress: bool = False,
) -> Outcome:
    """Evaluate the checkpoint at `weights` on `data` and save the numbers as JSON, with `save_csv` as CSV too.

    The settings are the checkpoint's; see `evaluation_config` for what may differ. Speed is the median of `fps_iters`
    passes after a tenth as many to warm up, or of fewer where that would take long (see `evaluate_full`). Files go to
    the checkpoint's run folder if it lies in one, else to `run.results_dir`. Raises InputError for unusable weights,
    data or settings.
    """
    device = pick_device(device_name)
    model, trained, meta = load_model(weights, device)
    config = evaluation_config(trained, config_path, overrides, str(weights))
    evaluated = open_evaluation_set(config, split, data)
    metrics = evaluate_full(
        model,
        evaluated.loader,
        device,
        config,
        evaluated.sizes,
        n_warmup=fps_iters // 10,
        n_iters=fps_iters,
        progress=progress,
    )
    paper = paper_values(config, split, data)
    notes = [*evaluated.notes, *paper_notes(config, paper)]
    record = {
        "weights": str(weights),
        "weights_sha256": meta["weights_sha256"],
        "epoch": meta["epoch"],
        "data": evaluated.label,
        "split": split,
        "metrics": metrics,
        "paper": paper,
        "notes": notes,
        "config": config.model_dump(mode="json"),
    }
    report = format_report(metrics, f"{weights} on {evaluated.label}", paper, notes)
    return Outcome(report, metrics, _save(record, _output_folder(weights, config), weights.stem, save_csv))


def _save(record: Mapping[str, Any], folder: Path, weights_name: str, save_csv: bool) -> tuple[Path, ...]:
    """Write the record as JSON, its numbers as CSV too if asked; return the files."""
    json_file = folder / f"eval_{weights_name}_{record['data']}.json"
    write_text(json_file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    if not save_csv:
        return (json_file,)
    write_csv(json_file.with_suffix(".csv"), CSV_COLUMNS, csv_rows(record["metrics"], record["paper"]))
    return (json_file, json_file.with_suffix(".csv"))


def _output_folder(weights: Path, config: Config) -> Path:
    """Return the run folder, the one that holds log.csv, among the two folders above the weights; else results_dir."""
    folders = [folder for folder in list(weights.resolve().parents)[:2] if (folder / "log.csv").is_file()]
    return folders[0] if folders else Path(config.run.results_dir)
