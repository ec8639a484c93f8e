"""The paper's ablation runs: read from configs/ablations.yaml, listed, and run one after another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_utils.atomic import write_csv, write_text
from data_utils.audit import require_clean
from data_utils.config import load_config, read_yaml
from data_utils.errors import InputError
from data_utils.section import Section
from training.dry_run import what_is_missing

SUMMARY_COLUMNS = ("name", "tables", "overrides", "paper_ap50", "ap50", "fps", "gflops", "epochs_trained", "state")


class AblationRun(Section):
    """One run of the paper's tables: what to change in train.yaml, and what was published.

    needs: what the run lacks before it can be trained here, as the file says or as found on disk, or None.
    """

    tables: tuple[int, ...]
    overrides: tuple[str, ...]
    paper: dict[str, float]
    needs: str | None = None
    note: str | None = None


def read_ablations(path: str | Path, config_path: str | Path) -> dict[str, AblationRun]:
    """Read the registry and check every override against the config; raises InputError naming the run."""
    runs: dict[str, AblationRun] = {}
    for name, values in read_yaml(path).get("runs", {}).items():
        try:
            # Strict sections take a YAML list for a tuple only when told that it comes from text.
            run = AblationRun.model_validate_json(json.dumps(values))
            needs = run.needs or what_is_missing(load_config(config_path, run.overrides))
            runs[name] = run.model_copy(update={"needs": needs})
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
            raise InputError(f"{path}: run '{name}': {'; '.join(problems)}") from None
        except InputError as error:
            raise InputError(f"{path}: run '{name}': {error}") from None
    if not runs:
        raise InputError(f"{path}: lists no runs")
    return runs


def run_ablation(
    name: str,
    overrides: Sequence[str] | Mapping[str, Any],
    *,
    config_path: str | Path = "configs/train.yaml",
    split: int = 1,
    device: str = "auto",
) -> dict[str, Any]:
    """Train with `overrides`, evaluate on the test list, and save `results/ablations/<name>.json`.

    overrides: `key=value` texts, or {key: value}. Returns {"name", "overrides", "split", "ap50", "fps", "gflops",
    "epochs_trained"}. Raises InputError as training does.
    """
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    from evaluation.evaluation_run import evaluate_checkpoint
    from training.run_folder import add_to_record
    from training.stage_runs import run_stages
    from training.trainer import Trainer

    config = load_config(config_path, overrides)
    audited = require_clean(config, split)
    run_stages(config, device=device)
    trainer = Trainer(config, split, device=device)
    add_to_record(trainer.run_dir, audit=audited)
    trained = trainer.fit()
    metrics = evaluate_checkpoint(Path(trained["best"]), split=split, device_name=device).metrics
    result = {
        "name": name,
        "overrides": list(overrides),
        "split": split,
        **{key: metrics[key] for key in ("ap50", "fps", "gflops")},
        "epochs_trained": trained["epochs_trained"],
    }
    write_text(result_path(name, config.run.results_dir), json.dumps(result, indent=2) + "\n")
    return result


def result_path(name: str, results_dir: str | Path = "results") -> Path:
    """Return where the result of run `name` is kept."""
    return Path(results_dir) / "ablations" / f"{name}.json"


def is_done(name: str, overrides: Sequence[str], split: int, results_dir: str | Path) -> bool:
    """Say whether run `name` has a result with these very overrides on this split."""
    path = result_path(name, results_dir)
    if not path.exists():
        return False
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return False
    return isinstance(saved, dict) and (saved.get("overrides"), saved.get("split")) == (list(overrides), split)


def write_summary(runs: Mapping[str, AblationRun], states: Mapping[str, str], results_dir: str | Path) -> Path:
    """Write `ablation_summary.csv`: every run with its published AP50, ours where there is one, and its state."""
    path = Path(results_dir) / "ablation_summary.csv"
    write_csv(path, SUMMARY_COLUMNS, [_summary_row(name, run, states[name], results_dir) for name, run in runs.items()])
    return path


def _summary_row(name: str, run: AblationRun, state: str, results_dir: str | Path) -> dict[str, Any]:
    saved = result_path(name, results_dir)
    result = json.loads(saved.read_text(encoding="utf-8")) if saved.exists() else {}
    described = {
        "name": name,
        "tables": " ".join(map(str, run.tables)),
        "overrides": " ".join(run.overrides),
        "paper_ap50": run.paper.get("ap50"),
        "state": state,
    }
    row = {**result, **described}
    return {column: row.get(column) for column in SUMMARY_COLUMNS}


def describe(runs: Mapping[str, AblationRun]) -> str:
    """Return the table of runs for the terminal: name, tables, published AP50, overrides, and what is missing."""
    width = max(map(len, runs))
    lines = [f"{'run':<{width}}  tables   paper AP50  overrides"]
    for name, run in runs.items():
        tables = ",".join(map(str, run.tables))
        lines.append(f"{name:<{width}}  {tables:<7}  {run.paper['ap50']:<10.2f}  {' '.join(run.overrides)}")
        remarks = {"needs": run.needs, "note": run.note}
        lines += [f"{'':<{width}}  {label}: {text}" for label, text in remarks.items() if text]
    return "\n".join(lines)
