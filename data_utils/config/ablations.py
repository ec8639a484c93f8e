"""configs/ablations.yaml: the runs of the paper's tables and figures, and of the questions it leaves open."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator

from data_utils.config.loading import read_yaml
from data_utils.config.sections import Count, Name, NonNegative, Positive, Section
from data_utils.errors import InputError, nearest_name

KEYS = ("runs", "tolerance")
RESERVED = ("plan",)  # <results>/ablations/plan.json is no run's result
# Overrides that the runner would lay its own value over, or not tell runs apart by -> what to write instead.
NOT_OVERRIDES = {
    "epochs": "write epochs_times, a factor on --epochs",
    "seed": "give the seeds to the command: --seeds",
    "run": "settings of place and machine are all runs' alike; give them to the command",
}
Table = Literal[4, 5, 6, 7, 8, 9, 10]
Figure = Literal[3, 5]
EXTERNAL = "ext"  # the name under dataset.external of the paper's ENDO-LC ext: ext_small, ext_medium
Measure = Literal["ap50", "gflops", "fps", "ext_small", "ext_medium"]
SHARES = ("ap50", "ext_small", "ext_medium")  # measures that are at most 1
Tolerances = dict[Measure, NonNegative]
OneLine = Annotated[str, AfterValidator(lambda text: " ".join(text.split()))]  # it stands in lists and under tables
LONGEST_NAME = 200  # of a run; folders are named after it, with some letters more


class AblationRun(Section):
    """One run: what to change in the base config, where the paper shows it, and what was published."""

    group: Literal["paper", "splits", "c1", "open", "controls"] = "paper"  # under which lists and tables show it
    tables: tuple[Table, ...] = ()  # of the paper, in which it is a row
    figures: tuple[Figure, ...] = ()  # of the paper, in which it is a point
    overrides: tuple[str, ...] = ()  # key=value, laid over the base config
    paper: dict[Measure, Positive] = Field(default_factory=dict)  # what was published for it
    tolerance: Tolerances = Field(default_factory=dict)  # up to which ours counts as the published value
    split: Count | None = None  # null: the command's
    c1: NonNegative | None = None  # its place on figure 3's axis
    epochs_times: Annotated[float, Field(gt=0, le=1000)] = 1.0  # [factor] on the command's epochs
    input_times: Annotated[float, Field(ge=1, le=16)] = 1.0  # [factor] on the input side
    against: Name | None = None  # the run it is compared with, patient by patient
    needs: OneLine | None = None  # what is missing before it can be trained here
    note: OneLine | None = None  # shown beside it

    @field_validator("paper", "tolerance")
    @classmethod
    def _at_most_1(cls, values: dict[str, float]) -> dict[str, float]:
        for key, value in values.items():
            if key in SHARES and value > 1:
                raise ValueError(f"{key} = {value:g}: a share of 1 is meant, 0.77 for 77 %")
        return values


class _Name(Section):
    """Holds a run's name, to have it checked: it becomes a folder."""

    name: Name


def read_registry(path: str | Path) -> dict[str, AblationRun]:
    """Read the runs in the file's order; raises InputError naming the run and the key."""
    values = read_yaml(path)
    if unknown := [key for key in values if key not in KEYS]:
        raise InputError(f"{path}: unknown key '{unknown[0]}'{nearest(str(unknown[0]), KEYS)}")
    listed = values.get("runs")
    if not isinstance(listed, dict) or not listed:
        raise InputError(f"{path}: lists no runs; write them under `runs:`")
    common = _section({"tolerance": values.get("tolerance") or {}}, f"{path}").tolerance
    runs: dict[str, AblationRun] = {}
    for key, own in listed.items():
        name = str(key)
        check_name(name, f"{path}: run '{name}'")
        if name.casefold() in map(str.casefold, runs):
            raise InputError(f"{path}: run '{name}' stands twice (capitals do not tell folders apart everywhere)")
        run = _section({} if own is None else own, f"{path}: run '{name}'")
        runs[name] = run.model_copy(update={"tolerance": {**common, **run.tolerance}})
    for name, run in runs.items():
        _check(name, run, runs, f"{path}: run '{name}'")
    return runs


def check_name(name: str, where: str) -> None:
    """Raise InputError for a name that cannot be that of a folder, or of a file the runner keeps for itself."""
    try:
        _Name.model_validate({"name": name})
    except ValidationError as error:
        raise InputError(f"{where}: {'; '.join(map(_problem, error.errors()))}") from None
    if name.casefold() in RESERVED or name.casefold().endswith(".json"):
        raise InputError(f"{where}: name: taken by a file of the runner's own; choose another")
    if len(name) > LONGEST_NAME:
        raise InputError(f"{where}: name: {len(name)} letters; a folder's name holds {LONGEST_NAME} and a seed")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean '...'?" where a known name is like this one, else the known names."""
    known = list(known)
    near = nearest_name(name, known)
    return f", did you mean '{near}'?" if near else f"; known: {', '.join(known)}"


def _section(values: Any, where: str) -> AblationRun:
    try:
        # Strict sections take a YAML list for a tuple only when told that it comes from text; a date is text here.
        return AblationRun.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(f"{where}: {'; '.join(map(_problem, error.errors()))}") from None


def _check(name: str, run: AblationRun, runs: Mapping[str, AblationRun], where: str) -> None:
    """Raise InputError for what does not go together, within the run or with the others."""
    if run.against is not None and run.against not in runs:
        raise InputError(f"{where}: against = {run.against}: no such run{nearest(run.against, runs)}")
    if run.against == name:
        raise InputError(f"{where}: against = {name}: a run is not compared with itself")
    for text in run.overrides:
        key, _, value = (part.strip() for part in text.partition("="))
        if instead := NOT_OVERRIDES.get(key.partition(".")[0]):
            raise InputError(f"{where}: overrides: {text}: {instead}")
        if key == "c1" and run.c1 is not None and _number(value) not in (None, run.c1):
            raise InputError(f"{where}: c1 = {run.c1:g}, but its overrides say {text}; figure 3 would show it there")
    if 3 in run.figures:
        same = [other for other, each in runs.items() if 3 in each.figures and each.c1 == run.c1]
        if run.c1 is None or same != [name]:
            what = "c1 is missing" if run.c1 is None else f"c1 = {run.c1:g} is that of {' and '.join(same)}"
            raise InputError(f"{where}: figures: 3 is drawn over c1, one run for each value; {what}")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # the config's reader knows what it is


def _problem(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "its value"
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{nearest(key, AblationRun.model_fields)}"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
