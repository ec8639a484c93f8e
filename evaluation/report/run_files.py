"""What a run folder holds for its report. A file that is missing or torn is empty, with a sentence that says so."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from data_utils.errors import InputError
from data_utils.files import read_saved_json
from evaluation.passes.stored import StoredPass, load, prediction_path
from evaluation.plots import read_log
from evaluation.scoring.ledger import LEDGER, Scorings, is_spent_by_scoring, scorings_of

NEEDED = ("ap50", "intervals", "froc", "sensitivity", "breakdown", "threshold_curves", "sweep", "per_class")


@dataclass(frozen=True, eq=False)
class RunFiles:
    """One evaluation and what lies around it.

    record: eval_*.json. stored: its predictions. config: plain values, of the record or else of the run. log: columns
    by name. run, log and panel are the training's: of the record's folder or, for a copy of the weights elsewhere, of
    the run they name. audit: audit.json of the results folder, where it is of the same data set. summary: rows of the
    splits' summary.csv. others: the folder's other evaluations. ledger: lines on this list and these weights.
    problems: what could not be read, in sentences.
    """

    record_file: Path
    record: dict[str, Any]
    stored: StoredPass | None
    config: dict[str, Any]
    run: dict[str, Any]
    log: dict[str, list[float]]
    panel: Path | None
    audit: dict[str, Any]
    summary: list[dict[str, str]]
    others: list[dict[str, Any]]
    scorings: Scorings | None
    last_scoring: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, Any]:
        """The record's numbers."""
        return self.record["metrics"]

    @property
    def about(self) -> dict[str, Any]:
        """The first line of the predictions; empty without them."""
        return {} if self.stored is None else self.stored.about

    @property
    def audit_verdict(self) -> str:
        """The audit's verdict: of audit.json or else of the audit before the training; "" where neither is at hand."""
        trained_on_it = self.run.get("dataset") == self.dataset.get("name")
        return str(self.audit.get("verdict") or (self.run.get("audit") if trained_on_it else "") or "")

    @property
    def dataset(self) -> dict[str, Any]:
        """The config's section `dataset`; empty where it is not known."""
        return section(self.config, "dataset")


def section(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a nested dict; empty where there is none."""
    found = values.get(name)
    return found if isinstance(found, dict) else {}


def is_run_folder(folder: Path) -> bool:
    """Return whether a training left its log or its record in `folder`."""
    return any((folder / name).is_file() for name in ("log.csv", "run.json"))


def find_record(folder: Path, data: str | None = None) -> Path:
    """Return the evaluation a report of `folder` is about: on `data` if given, else on the test list if there is one.

    `data` is a part of a split, an external set, or what stands in the file's name. Among several the best checkpoint's
    comes first, then the newest. Raises InputError where there is none.
    """
    if folder.is_file():
        return folder
    found = sorted(folder.glob("eval_*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise InputError(f"{folder}: holds no eval_*.json; `python evaluate.py --weights {folder}/best.pt` writes one")
    if data is not None:
        chosen = [path for path in found if path.stem.endswith(f"_{data}")]
        if not chosen:
            names = ", ".join(path.name for path in found)
            raise InputError(f"--data {data}: no eval_*_{data}.json in {folder}; there are {names}")
        found = chosen
    return max(found, key=lambda path: (path.stem.endswith("_test"), path.stem.startswith("eval_best_")))


def read_run(record_file: Path) -> RunFiles:
    """Read what belongs to one evaluation. Raises InputError when it is no record of evaluate.py, or an older one's."""
    folder = record_file.parent
    record = read_saved_json(record_file)
    metrics = record.get("metrics")
    if not isinstance(metrics, dict) or any(name not in metrics for name in NEEDED):
        raise InputError(f"{record_file}: not an evaluation as evaluate.py writes it today; run evaluate.py again, or "
                         f"`python -m evaluation.score {folder}` where the predictions are stored")  # fmt: skip
    problems: list[str] = []
    stored = _stored(prediction_path(folder, record_file.stem.removeprefix("eval_")), problems)
    config = section(record, "config") or _read_yaml(folder / "config.yaml")
    recorded = [{} if stored is None else stored.about, section(config, "run")]
    results_dir = Path(next((place["results_dir"] for place in recorded if place.get("results_dir")), folder))
    audit = read_saved_json(results_dir / "audit.json")
    dataset = section(config, "dataset")
    scorings, last = _ledger(results_dir, stored)
    training = _training_folder(folder, results_dir, recorded[0].get("run"))
    panels = sorted(training.glob("panels/*.npz"))
    return RunFiles(
        record_file=record_file,
        record=record,
        stored=stored,
        config=config,
        run=read_saved_json(training / "run.json"),
        log=_log(training / "log.csv", problems),
        panel=panels[-1] if panels else None,
        audit=audit if audit.get("dataset") == dataset.get("name") else {},
        summary=_summary(Path(dataset.get("splits") or folder) / "summary.csv"),
        others=[read_saved_json(path) for path in sorted(folder.glob("eval_*.json")) if path != record_file],
        scorings=scorings,
        last_scoring=last,
        problems=problems,
    )


def _training_folder(folder: Path, results_dir: Path, name: str | None) -> Path:
    """Return the run folder of the training: `folder`, or the run `name` where `folder` holds only a copy's results."""
    if name is None or is_run_folder(folder):
        return folder
    named = results_dir / "runs" / name
    return named if named.is_dir() else folder


def _stored(path: Path, problems: list[str]) -> StoredPass | None:
    try:
        stored = load(path)
    except InputError:  # its message may hold a frame's name
        problems.append("The stored predictions are missing or damaged; `python -m evaluation.score RUN` says which.")
        return None
    problems += stored.notes
    return stored


def _log(path: Path, problems: list[str]) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    try:
        log, n_skipped = read_log(path)
    except InputError as error:
        problems.append(f"The training log cannot be drawn: {error}.")
        return {}
    if n_skipped:
        problems.append(f"Torn lines of the training log that were left out: {n_skipped}.")
    return log


def _ledger(results_dir: Path, stored: StoredPass | None) -> tuple[Scorings | None, dict[str, Any]]:
    """Return what the ledger holds on this list, and its last line on this list and these weights."""
    if stored is None or not is_spent_by_scoring(stored.about["data"]):
        return None, {}
    ledger = results_dir / LEDGER
    same = [
        line for line in _json_lines(ledger)
        if all(line.get(key) == stored.about.get(key) for key in ("list_sha256", "weights_sha256"))
    ]  # fmt: skip
    counted = scorings_of(ledger, stored.about["list_sha256"]) if ledger.is_file() else None
    return counted, same[-1] if same else {}


def _json_lines(path: Path) -> Sequence[dict[str, Any]]:
    rows = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # torn: `scorings_of` counts it
    return [row for row in rows if isinstance(row, dict)]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return values if isinstance(values, dict) else {}


def _summary(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = [dict(row) for row in csv.DictReader(stream)]
    except (OSError, ValueError, csv.Error):
        return []
    return [row for row in rows if "split" in row and all(isinstance(cell, str) for cell in row.values())]
