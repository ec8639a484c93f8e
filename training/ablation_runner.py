"""`python run_all_ablations.py`: plan the runs that are asked for, send them to an engine, say how each stands."""

from __future__ import annotations

import fnmatch
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from filelock import FileLock

from data_utils.ablation_files import plan_path
from data_utils.ablation_registry import nearest, read_registry
from data_utils.config import load_config
from data_utils.config_sections import Config
from data_utils.errors import EXIT_FAULT, EXIT_RESUMABLE, InputError
from training.ablation import describe, write_results
from training.ablation_job import Outcome
from training.ablation_plan import Asked, Job, Plan, make_plan, refuse_other_settings, write_plan
from training.dry_run import require_prepared

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
        from models.weights import pick_device

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
        from training.ablation_ray import Nodes, run_on_ray

        run_on_ray(plan.jobs, report, Nodes(engine.address, engine.cpus or Nodes.cpus, device))
    else:
        from training.ablation_local import run_locally

        run_locally(plan.jobs, report)
