"""What the ablation runner has to do: one job for each configuration and seed, told apart by what they compute."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_utils.config.ablations import AblationRun
from data_utils.config.loading import config_hash, load_config
from data_utils.config.sections import SIDE_MULTIPLE, Config
from data_utils.errors import InputError
from data_utils.files import read_saved_json, write_text
from evaluation.paper.results import FOLDER, RESULT, STATE, VERSION, PlannedRun, plan_path, read_plan, read_result
from training.dry_run import require_prepared, what_is_missing
from training.stages import plan_stages

_PLACES = ("raw", "processed", "splits", "filter_log", "external")  # of a data set: where it lies, not what it is
_TELLING = ("precision", "val_every")  # of a run's place and machine: what moves its numbers, or which epoch is kept


@dataclass(frozen=True)
class Asked:
    """What the command asks of every run. settings: key=value texts that the runs' own overrides are laid over."""

    config_path: str = "configs/train.yaml"
    settings: tuple[str, ...] = ()
    epochs: int = 20
    split: int = 1
    seeds: tuple[int, ...] = (0,)
    device: str = "auto"


@dataclass(frozen=True)
class Job:
    """One training with its evaluation: `name` and `seed` name its folder, `key` says what it computes.

    overrides: everything that makes its config out of `config_path`. stages: run folders of the unfinished stages it
    rests on, which two jobs must not train at once. needs: what is missing, or None. external: whether external sets
    are measured; they are prepared at the base config's side, so a larger input cannot be.
    """

    name: str
    seed: int
    split: int
    config_path: str
    overrides: tuple[str, ...]
    device: str
    results_dir: str
    key: str
    stages: tuple[str, ...] = ()
    needs: str | None = None
    external: bool = True

    @property
    def title(self) -> str:
        """How it is called in messages."""
        return f"{self.name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Its lock, state and result."""
        return Path(self.results_dir) / FOLDER / self.name / f"seed{self.seed}"

    @property
    def run_name(self) -> str:
        """The training's folder below `<results_dir>/runs`."""
        return f"ablation_{self.name}_seed{self.seed}"

    @property
    def run_dir(self) -> Path:
        """The training's run folder, which holds its evaluations too."""
        return Path(self.results_dir) / "runs" / self.run_name

    def config(self) -> Config:
        """Return its settings."""
        own = [*self.overrides, f"run.name={self.run_name}", "run.fixed_copies=false"]
        config = load_config(self.config_path, own)
        if self.external:
            return config
        return config.model_copy(update={"dataset": config.dataset.model_copy(update={"external": {}})})


@dataclass(frozen=True)
class Plan:
    """The jobs in order, each once, and {run: {seed: the job that gives its result}}."""

    jobs: tuple[Job, ...]
    cells: Mapping[str, Mapping[int, Job]]


def make_plan(registry: Mapping[str, AblationRun], wanted: Sequence[str], asked: Asked) -> Plan:
    """Plan the runs named in `wanted`; raises InputError, naming the run, for settings that no config can hold.

    A run of the same settings as one before it in the registry, wanted or not, is that run: it is trained once.
    """
    load_config(asked.config_path, asked.settings)  # what is wrong for all is no run's fault
    owners: dict[str, str] = {}
    jobs: dict[tuple[str, int], Job] = {}
    cells: dict[str, dict[int, Job]] = {}
    for name, run in registry.items():
        try:
            overrides = (*asked.settings, *_derived(run, asked))
            config, split = load_config(asked.config_path, overrides), run.split or asked.split
            key = job_key(config, split)
        except InputError as error:
            raise InputError(f"run '{name}': {error}") from None
        owner = owners.setdefault(key, name)
        if name in wanted:
            own = _by_seed(owner, run, config, split, overrides, key, asked)
            cells[name] = {seed: jobs.setdefault((key, seed), job) for seed, job in own.items()}
    return Plan(tuple(jobs.values()), cells)


def job_key(config: Config, split: int) -> str:
    """Return 12 hex digits that two trainings share when they compute the same but for the seed."""
    values = config.model_dump(mode="json")
    dataset = {key: value for key, value in values["dataset"].items() if key not in _PLACES}
    run = {key: values["run"][key] for key in _TELLING}
    return config_hash({**values, "run": run, "seed": None, "dataset": dataset, "split": split})


def refuse_other_settings(jobs: Sequence[Job]) -> None:
    """Raise InputError when a job's folder holds work done with other settings, naming the first and the difference."""
    for job in jobs:
        if not (job.folder / RESULT).is_file() and not any(job.run_dir.glob("last*.pt")):
            continue
        records = [read_saved_json(job.folder / STATE), read_result(job.folder)]
        known = [record for record in records if isinstance(record.get("key"), str)]
        if any(record["key"] == job.key for record in known):
            continue
        if not known:
            raise InputError(
                f"{job.folder}: no {STATE} says with which settings {job.run_dir} was begun; move both away to train "
                "this run anew, or keep the results apart: run.results_dir=PATH"
            )
        then, now = _settings(known[0]), _settings({"split": job.split, "overrides": [*job.overrides]})
        changed = [f"{text} then" for text in then if text not in now]
        changed += [f"{text} now" for text in now if text not in then]
        raise InputError(
            f"{job.folder}: holds this run with other settings ({', '.join(changed) or 'in the config files'}); "
            "set them back, or keep the results apart: run.results_dir=PATH"
        )


def write_plan(plan: Plan, registry: Mapping[str, AblationRun], asked: Asked, results_dir: str | Path) -> Path:
    """Note which folder holds each run's seeds, for the tables; what was planned before with these settings stays.

    Raises InputError for a damaged plan: to write a new one over it would take every other run out of the tables.
    """
    runs, base = read_plan(results_dir), load_config(asked.config_path, [*asked.settings, f"epochs={asked.epochs}"])
    for name, by_seed in plan.cells.items():
        first, before = next(iter(by_seed.values())), runs.get(name)
        config = first.config()
        kept = before.seeds if before and before.key == first.key else {}
        runs[name] = PlannedRun(
            key=first.key,
            seeds=kept | {str(seed): f"{job.name}/seed{seed}" for seed, job in by_seed.items()},
            split=first.split,
            overrides=list(registry[name].overrides),
            config=asked.config_path,
            dataset=config.dataset.name,
            external=sorted(config.dataset.external),
            imgsz=config.imgsz_lr,
            epochs=config.epochs,
            needs=first.needs,
            base=job_key(base, first.split),
            settings=list(asked.settings),
        )
    path = plan_path(results_dir)
    plain = {name: run.model_dump() for name, run in runs.items()}
    write_text(path, json.dumps({"version": VERSION, "runs": plain}, indent=1) + "\n")
    return path


def with_earlier_seeds(by_seed: Mapping[int, Job], planned: PlannedRun) -> dict[int, Job]:
    """Return a run's jobs and, before them, those of seeds that earlier commands asked for, as the tables show them."""
    like = next(iter(by_seed.values()))
    found = {
        seed: replace(like, name=Path(folder).parent.name, seed=seed, overrides=(*like.overrides[:-1], f"seed={seed}"))
        for seed, folder in planned.folders.items()
    }
    return dict(sorted((found | dict(by_seed)).items()))


def _derived(run: AblationRun, asked: Asked) -> list[str]:
    """Return the run's overrides with epochs, and with what a larger input takes along."""
    overrides = [*run.overrides, f"epochs={max(1, round(asked.epochs * run.epochs_times))}"]
    if run.input_times == 1:
        return overrides
    config = load_config(asked.config_path, asked.settings)
    side = round(config.imgsz_lr * run.input_times / SIDE_MULTIPLE) * SIDE_MULTIPLE
    return [*overrides, *_prepared_at(config, side)]


def _prepared_at(config: Config, side: int) -> list[str]:
    """Return the settings of the same data set prepared at another side, in folders of its own."""
    dataset = config.dataset
    places = (f"dataset.{key}={getattr(dataset, key)}_{side}" for key in ("processed", "splits"))
    log = f"dataset.filter_log={Path(dataset.filter_log).with_suffix('')}_{side}.csv"
    return [f"imgsz_lr={side}", f"imgsz_hr={2 * side}", *places, log]


def _needs(config: Config, run: AblationRun, split: int, asked: Asked) -> str | None:
    """Return what this run lacks beside the base config's own frames, which the command itself asks for."""
    if run.input_times != 1 and not config.dataset.split_list(split, "train").is_file():
        settings = _prepared_at(load_config(asked.config_path, asked.settings), config.imgsz_lr)
        command = shlex.join(["python", "-m", "data_utils.prepare", "--config", asked.config_path, *asked.settings])
        return f"frames prepared at {config.imgsz_lr} px: `{command} {shlex.join(settings)}`"
    if split != asked.split:
        try:
            require_prepared(config.dataset, split, asked.config_path)
        except InputError as error:
            return str(error)
    return what_is_missing(config)


def _by_seed(
    owner: str, run: AblationRun, config: Config, split: int, overrides: Sequence[str], key: str, asked: Asked
) -> dict[int, Job]:
    """Return the job of each seed; they differ in nothing else."""
    needs = run.needs or _needs(config, run, split, asked)
    stages = () if needs else plan_stages(config).stages
    pending = tuple(str(stage.run_dir) for stage in stages if stage.state() != "finished")
    return {
        seed: Job(owner, seed, split, asked.config_path, (*overrides, f"seed={seed}"), asked.device,
                  config.run.results_dir, key, pending, needs, external=run.input_times == 1)
        for seed in asked.seeds
    }  # fmt: skip


def _settings(record: Mapping[str, Any]) -> list[str]:
    """Return the settings that a state or a result names, the split among them."""
    overrides, split = record.get("overrides"), record.get("split")
    return [*(overrides if isinstance(overrides, list) else []), *([f"--split {split}"] if split is not None else [])]
