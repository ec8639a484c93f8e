"""The ablations' results by their fixed names: results/ablations/<name>.json, results/ablation_summary.csv."""

from __future__ import annotations

import csv
import fnmatch
import json
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from data_utils.config.ablations import AblationRun, check_name, nearest, read_registry
from data_utils.config.loading import config_hash, load_config
from data_utils.config.sections import Config
from data_utils.errors import EXIT_FAULT, EXIT_RESUMABLE, InputError
from data_utils.files import write_csv, write_text
from evaluation.paper.results import FOLDER, NUMBERS, plan_path, read_plan, read_result
from training.ablations.job import Outcome, is_done, noted, perform, standing
from training.ablations.plan import (
    Asked,
    Job,
    Plan,
    job_key,
    make_plan,
    refuse_other_settings,
    with_earlier_seeds,
    write_plan,
)
from training.dry_run import absent_weights, refusal, require_prepared

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


# `python run_all_ablations.py`: plan the runs that are asked for, send them to an engine, say how each stands.


DEFAULT_REGISTRY = Path("configs/ablations.yaml")
MOST_EPOCHS = 1_000_000  # more is a slip of the hand, and a factor on it may leave what a number can hold


@dataclass(frozen=True)
class Engine:
    """Where the jobs run: here one after another, or on a Ray cluster with so many cores, or a GPU, each."""

    name: Literal["local", "ray"] = "local"
    address: str | None = None
    cpus: int | None = None  # Ray's nodes know what stands for None


def run_all(ablations: str, only: Sequence[str], asked: Asked, engine: Engine, dry_run: bool = False) -> int:
    """Run what `only`'s patterns match in the registry; returns 1 when a run failed, 75 when one can go on, else 0."""
    registry = read_registry(ablations)
    wanted = _wanted(registry, only, ablations)
    wrong = [seed for seed in asked.seeds if not 0 <= seed < 2**32]
    if wrong or not 1 <= asked.epochs <= MOST_EPOCHS:
        told = f"--seeds {(wrong or asked.seeds)[0]}, --epochs {asked.epochs}"
        raise InputError(f"{told}: seeds are 0 to {2**32 - 1}, epochs 1 to {MOST_EPOCHS:,}")
    named = {"--cpus": engine.cpus, "--address": engine.address}
    if (engine.cpus is not None and engine.cpus < 1) or (engine.name != "ray" and any(named.values())):
        given = ", ".join(f"{option} {value}" for option, value in named.items() if value is not None)
        raise InputError(f"{given}: --engine ray alone takes these, from 1 core")
    _refuse_settings_with_an_option(asked.settings)
    asked = replace(asked, seeds=tuple(dict.fromkeys(asked.seeds)))
    plan = make_plan(registry, wanted, asked)
    if dry_run:
        print(describe(registry, plan, asked))
        _tell_what_would_stop_it(plan, asked, engine)
        return 0
    results_dir = _require_what_all_need(asked, engine).run.results_dir
    refuse_other_settings(plan.jobs)
    own = [] if Path(ablations) == DEFAULT_REGISTRY else ["--ablations", ablations]
    with _alone_in(results_dir):
        write_plan(plan, registry, asked, results_dir)  # also finds out whether there is a place to write to
    outcomes: dict[Job, Outcome] = {}
    try:
        _run(plan, engine, asked.device, outcomes)
    finally:  # stopped by a signal, too
        with _alone_in(results_dir):
            print(f"written: {write_results(registry, plan, outcomes, results_dir)}")
    print("tables:", shlex.join(["python", "-m", "evaluation.report", "ablations", "--results", results_dir, *own]))
    states = {outcome.state for outcome in outcomes.values()}
    return EXIT_FAULT if states & {"failed", "busy"} else EXIT_RESUMABLE if "stopped" in states else 0


def _wanted(registry: Iterable[str], only: Sequence[str], ablations: str) -> list[str]:
    """Return the runs that are asked for, in the registry's order; raises InputError for a pattern without any."""
    registry = list(registry)
    for pattern in only:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in registry):
            raise InputError(f"--only {pattern}: matches no run of {ablations}{nearest(pattern, registry)}")
    return [name for name in registry if any(fnmatch.fnmatchcase(name, pattern) for pattern in only)]


def _tell_what_would_stop_it(plan: Plan, asked: Asked, engine: Engine) -> None:
    try:
        _require_what_all_need(asked, engine)
    except InputError as error:
        print(f"all runs need: {error}", file=sys.stderr)
    try:
        refuse_other_settings(plan.jobs)
    except InputError as error:
        print(f"would be refused: {error}", file=sys.stderr)


def _alone_in(results_dir: str) -> FileLock:
    """Return the lock of what all runners of one folder write to: the plan, and the results over all seeds."""
    folder = plan_path(results_dir).parent
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "plan.lock")


def _require_what_all_need(asked: Asked, engine: Engine) -> Config:
    """Return the base config; raises InputError for frames that are not prepared and a device that is not here.

    Once, not for every run.
    """
    config = load_config(asked.config_path, asked.settings)
    require_prepared(config.dataset, asked.split, asked.config_path)
    if engine.name == "local" and asked.device != "auto":
        from models.checkpoint import pick_device

        pick_device(asked.device)
    return config


def _refuse_settings_with_an_option(settings: tuple[str, ...]) -> None:
    """Raise InputError for `epochs=3`: the option's value would be laid over it, without a word."""
    for text in settings:
        key, _, value = text.partition("=")
        option = {"epochs": "--epochs", "seed": "--seeds"}.get(key.strip())
        if option is not None:
            raise InputError(f"{text}: write {option} {value}; every run takes it from there")
        if key.strip() in ("run.name", "run.fixed_copies"):
            raise InputError(f"{text}: every run has a folder of its own; to keep them apart: run.results_dir=PATH")


def _run(plan: Plan, engine: Engine, device: str, outcomes: dict[Job, Outcome]) -> None:
    def report(job: Job, outcome: Outcome) -> None:
        outcomes[job] = outcome
        stream = sys.stdout if outcome.ok or outcome.state == "needs" else sys.stderr
        print(f"{len(outcomes)}/{len(plan.jobs)} {job.title}: {outcome}", file=stream, flush=True)

    if engine.name == "ray":
        from training.ablations.engines import Nodes, run_on_ray

        run_on_ray(plan.jobs, report, Nodes(engine.address, engine.cpus or Nodes.cpus, device))
    else:
        from training.ablations.engines import run_locally

        run_locally(plan.jobs, report)
