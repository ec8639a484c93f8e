"""One evaluation from weights file to saved numbers; evaluate.py is its command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from evaluation.external_tables import write_tables
from evaluation.metrics import model_metrics, reconstruction_metrics
from evaluation.paper.published import is_for_tables_9_and_10, paper_notes, paper_values
from evaluation.passes.evaluation_set import evaluation_config
from evaluation.passes.predict import LoadedModel, run_and_store
from evaluation.passes.stored import StoredPass, load, truth_path
from evaluation.report.text import csv_rows, format_report
from evaluation.score import NO_CHOICE, evaluation_path, score, validation_pass
from evaluation.scoring.ledger import is_spent_by_scoring, note_scoring
from models.checkpoint import load_model, pick_device

CSV_COLUMNS = ("metric", "class", "value", "low", "high", "paper")


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
    fps_iters: int | None = None,
    progress: bool = False,
) -> Outcome:
    """Evaluate the checkpoint at `weights` on `data` and save the numbers as JSON, with `save_csv` as CSV too.

    The settings are the checkpoint's; see `evaluation_config` for what may differ. Predictions are stored first, and
    every number of detections is worked out from that file (see evaluation/score.py), the threshold on stored
    predictions of the same weights on the validation list, which are made here if there are none. A scoring of a test
    list or external set is noted in the ledger. Speed is the median of `fps_iters` passes (default: `run.fps_iters`)
    after a tenth as many to warm up, or of fewer where that would take long. Files go to the checkpoint's run folder if
    it lies in one, else to `run.results_dir`. Raises InputError for unusable weights, data or settings.
    """
    device = pick_device(device_name)
    model, trained, meta = load_model(weights, device)
    loaded = LoadedModel(model, weights, meta, device)
    config = evaluation_config(trained, config_path, overrides, str(weights))
    folder = output_folder(weights, config)
    path, evaluated, quality = run_and_store(loaded, config, split, data, folder, progress, with_quality=True)
    stored = load(path)
    # The threshold is chosen on the validation frames of the data set trained on, whatever set is evaluated.
    chosen_on = config if config_path is None else config.model_copy(update={"dataset": trained.dataset})
    validation, notes = _validation(loaded, stored, chosen_on, progress)
    n_passes = fps_iters or config.run.fps_iters
    measured = model_metrics(model, config.imgsz_lr, n_passes // 10, n_passes)
    metrics = score(stored, validation) | dict(reconstruction_metrics(quality, evaluated.sizes)) | measured
    paper = paper_values(config, split, data)
    notes = [*evaluated.notes, *notes, *paper_notes(config, paper)]
    command = shlex.join(["python", "evaluate.py", "--weights", str(weights), "--split", str(split), "--data", data])
    if is_spent_by_scoring(data):
        notes.append(note_scoring(Path(config.run.results_dir), stored.about, command).sentence())
    record = {
        **{key: stored.about[key] for key in ("weights", "weights_sha256", "epoch", "split")},
        **{"data": evaluated.label, "metrics": metrics, "paper": paper, "notes": notes, "command": command},
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
    }
    files = (*_save(record, evaluation_path(path), save_csv), path, truth_path(path))
    outcome = Outcome(format_report(metrics, f"{weights} on {evaluated.label}", paper, notes), metrics, files)
    return _with_tables(outcome, config, data, folder) if data in config.dataset.external else outcome


def _with_tables(outcome: Outcome, config: Config, data: str, folder: Path) -> Outcome:
    """Add the paper's Tables 9 and 10, filled from every evaluation at hand; elsewhere, how to ask for them."""
    results_dir = Path(config.run.results_dir)
    if not is_for_tables_9_and_10(config, data):
        command = shlex.join(["python", "-m", "evaluation.external_tables", str(results_dir), "--data", data])
        asked = f"- Not the set or settings of the paper's Tables 9 and 10; to see them all the same: `{command}`."
        return Outcome(f"{outcome.report}\n\n{asked}", outcome.metrics, outcome.files)
    places = [place for place in (results_dir, folder) if place.is_dir()]
    tables, table_files = write_tables(places, data, results_dir)
    return Outcome(f"{outcome.report}\n\n{tables.rstrip()}", outcome.metrics, (*outcome.files, *table_files))


def _validation(
    loaded: LoadedModel, stored: StoredPass, config: Config, progress: bool
) -> tuple[StoredPass | None, list[str]]:
    """Return predictions of the same weights on the validation list, made now if need be, and what to say of them."""
    if (validation := validation_pass(stored)) is not None:
        return validation, []
    split = loaded.meta.get("split") or stored.about["split"]
    try:
        run_and_store(loaded, config, split, "val", stored.path.parent, progress)
    except InputError as error:
        return None, [f"{NO_CHOICE}: {error}"]
    return validation_pass(stored), []  # by the rule of evaluation.score, so that both give the same numbers


def _save(record: Mapping[str, Any], json_file: Path, save_csv: bool) -> tuple[Path, ...]:
    """Write the record as JSON, its numbers as CSV too if asked; return the files."""
    write_text(json_file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    if not save_csv:
        return (json_file,)
    write_csv(json_file.with_suffix(".csv"), CSV_COLUMNS, csv_rows(record["metrics"], record["paper"]))
    return (json_file, json_file.with_suffix(".csv"))


def output_folder(weights: Path, config: Config) -> Path:
    """Return the run folder, the one that holds log.csv, among the two folders above the weights; else results_dir."""
    folders = [folder for folder in list(weights.resolve().parents)[:2] if (folder / "log.csv").is_file()]
    return folders[0] if folders else Path(config.run.results_dir)
