"""The ablations' results by their fixed names: results/ablations/<name>.json, results/ablation_summary.csv."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_utils.ablation_files import FOLDER, NUMBERS, read_plan, read_result
from data_utils.ablation_registry import AblationRun, check_name
from data_utils.atomic import write_csv, write_text
from data_utils.config import config_hash, load_config
from training.ablation_job import Outcome, is_done, noted, perform, standing
from training.ablation_plan import Asked, Job, Plan, job_key, refuse_other_settings, with_earlier_seeds
from training.dry_run import absent_weights, refusal

SUMMARY_COLUMNS = ("name", "group", "tables", "overrides", "paper_ap50", "ap50", "ap50_sd", "seeds", "fps", "gflops",
                   "epochs_trained", "state")  # fmt: skip
# The settings that say which model a run builds and from which weights.
_OF_THE_MODEL = {"model", "pretrain", "stages", "sr_layers", "sr_decoder", "sr_resblocks", "imgsz_lr", "imgsz_hr",
                 "c1", "optim"}  # fmt: skip


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
    "epochs_trained"}. A training of this name that was stopped goes on. Raises InputError as training does, for a name
    that is none of a folder, and when the name stands for other settings already.
    """
    check_name(name, f"run '{name}'")
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
    config = load_config(config_path, overrides)
    key, where = job_key(config, split), config.run.results_dir
    job = Job(name, config.seed, split, str(config_path), tuple(overrides), device, where, key)
    refuse_other_settings([job])
    noted(job, Outcome("running"))
    done = perform(job)
    noted(job, Outcome("done"))
    result = {"name": name, "overrides": list(overrides), "split": split, **{key: done[key] for key in NUMBERS}}
    write_text(result_path(name, where), json.dumps(result, indent=2) + "\n")
    return result


def result_path(name: str, results_dir: str | Path = "results") -> Path:
    """Return where the result of run `name`, over its seeds, is kept."""
    return Path(results_dir) / FOLDER / f"{name}.json"


def write_results(
    registry: Mapping[str, AblationRun], plan: Plan, outcomes: Mapping[Job, Outcome], results_dir: str | Path
) -> Path:
    """Write each planned run's result, and their lines of `ablation_summary.csv`; return the latter.

    A run's seeds are all that were ever asked for, as in the tables; of those not in `outcomes` the files tell how they
    stand. A run of which a seed is missing has no mean, and says which and why. Lines of other runs stay.
    """
    path, planned = Path(results_dir) / "ablation_summary.csv", read_plan(results_dir)
    rows = _earlier_rows(path)
    for name, asked_now in plan.cells.items():
        by_seed = with_earlier_seeds(asked_now, planned[name]) if name in planned else asked_now
        states = {seed: _latest(job, outcomes) for seed, job in by_seed.items()}
        result = over_seeds(name, registry[name], by_seed, states)
        write_text(result_path(name, results_dir), json.dumps(result, indent=2) + "\n")
        row = {**result, **_described(registry[name], result, states)}
        rows[name] = {column: row.get(column) for column in SUMMARY_COLUMNS}
    order = [*(name for name in registry if name in rows), *(name for name in rows if name not in registry)]
    write_csv(path, SUMMARY_COLUMNS, (rows[name] for name in order))
    return path


def _latest(job: Job, outcomes: Mapping[Job, Outcome]) -> Outcome:
    """Return a job's outcome, or how it stands where this command has none, or another runner was at it."""
    outcome = outcomes.get(job)
    if outcome is None or (outcome.state == "busy" and is_done(job)):
        return standing(job)
    return outcome


def _earlier_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of a summary by run; none of a file that is not there or is no such summary."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [dict(row) for row in reader if None not in row] if reader.fieldnames else []
            whole = tuple(reader.fieldnames or ()) == SUMMARY_COLUMNS
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return {row["name"]: row for row in rows if row["state"]} if whole else {}


def over_seeds(
    name: str, run: AblationRun, by_seed: Mapping[int, Job], states: Mapping[int, Outcome]
) -> dict[str, Any]:
    """Return a run's result: means over all its seeds, None while one is missing, with each seed's own numbers."""
    own = {seed: read_result(job.folder) for seed, job in by_seed.items() if states[seed].ok}
    missing = {str(seed): str(state) for seed, state in states.items() if not state.ok}
    means: dict[str, Any] = {key: None if missing else _mean([each[key] for each in own.values()]) for key in NUMBERS}
    values = [each["ap50"] for each in own.values()]
    return {
        "name": name,
        "overrides": list(run.overrides),
        "split": next(iter(by_seed.values())).split,
        **means,
        "ap50_sd": statistics.stdev(values) if len(values) > 1 and means["ap50"] is not None else None,
        "by_seed": {str(seed): {key: each[key] for key in NUMBERS} for seed, each in own.items()},
        "missing": missing,
    }


def describe(registry: Mapping[str, AblationRun], plan: Plan, asked: Asked) -> str:
    """Return the table of runs for the terminal: name, tables, published AP50, overrides, and what is missing."""
    width = max(map(len, plan.cells))
    lines = [f"{'run':<{width}}  tables      paper AP50  overrides"]
    refused: dict[str, str | None] = {}  # many runs are of one model
    for name, by_seed in plan.cells.items():
        run, job = registry[name], next(iter(by_seed.values()))
        published = f"{run.paper['ap50']:.2f}" if "ap50" in run.paper else "-"
        tables = ",".join(map(str, run.tables)) or "-"
        lines.append(f"{name:<{width}}  {tables:<10}  {published:<10}  {' '.join(run.overrides) or '-'}")
        same = f"run {job.name}, of the same settings" if job.name != name else None
        config, is_changed = job.config(), (run.epochs_times, run.input_times) != (1, 1)
        trained = f"{config.epochs} epochs at {config.imgsz_lr} px" if is_changed else None
        model = config_hash(config.model_dump(mode="json", include=_OF_THE_MODEL))
        if model not in refused:
            refused[model] = refusal(config)
        needs = job.needs or absent_weights(config)
        remarks = {"needs": needs, "refused": None if needs else refused[model], "is": same, "trained": trained,
                   "note": run.note}  # fmt: skip
        lines += [f"{'':<{width}}  {label}: {text}" for label, text in remarks.items() if text]
    seeds = ", ".join(map(str, asked.seeds))
    trainings = f"{len(plan.jobs)} trainings of their own (seeds {seeds}; {asked.epochs} epochs)"
    lines.append(f"{len(plan.cells)} runs, {trainings}")
    return "\n".join(lines)


def _described(run: AblationRun, result: Mapping[str, Any], states: Mapping[int, Outcome]) -> dict[str, Any]:
    texts = {str(state) for state in states.values()}
    alone = texts.pop() if len(texts) == 1 else "; ".join(f"seed {seed}: {state}" for seed, state in states.items())
    return {
        "group": run.group,
        "tables": " ".join(map(str, run.tables)),
        "overrides": " ".join(run.overrides),
        "paper_ap50": run.paper.get("ap50"),
        "seeds": f"{len(result['by_seed'])} of {len(states)}",
        "state": alone,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return None if not known or len(known) < len(values) else statistics.fmean(known)
