"""configs/ablations.yaml: the runs of the paper's tables and figures, and of the questions it leaves open."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from data_utils.config import read_yaml
from data_utils.errors import InputError
from data_utils.section import Count, Name, NonNegative, Positive, Section

KEYS = ("runs", "tolerance")
EXTERNAL = "ext"  # the name under dataset.external on which ext_small and ext_medium are measured
Measure = Literal["ap50", "gflops", "fps", "ext_small", "ext_medium"]
Tolerances = dict[Measure, NonNegative]


class AblationRun(Section):
    """One run: what to change in the base config, where the paper shows it, and what was published.

    split: None for the command's. epochs_times, input_times: factors on the command's epochs and on the input side.
    against: the run it is compared with. needs: what is missing before it can be trained here, or None.
    """

    group: Literal["paper", "splits", "c1", "open", "controls"] = "paper"
    tables: tuple[int, ...] = ()
    figures: tuple[int, ...] = ()
    overrides: tuple[str, ...] = ()
    paper: dict[Measure, Positive] = Field(default_factory=dict)
    tolerance: Tolerances = Field(default_factory=dict)
    split: Count | None = None
    c1: NonNegative | None = None  # of figure 3's axis
    epochs_times: Positive = 1.0
    input_times: Annotated[float, Field(ge=1)] = 1.0
    against: Name | None = None
    needs: str | None = None
    note: str | None = None


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
    common = values.get("tolerance", {})
    runs = {str(name): _run(str(name), run, common, path) for name, run in listed.items()}
    for name, run in runs.items():
        if run.against is not None and run.against not in runs:
            raise InputError(f"{path}: run '{name}': against = {run.against}: no such run{nearest(run.against, runs)}")
    return runs


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean '...'?" where a known name is like this one, else the known names."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f", did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"


def _run(name: str, values: Any, common: Any, path: str | Path) -> AblationRun:
    try:
        # Strict sections take a YAML list for a tuple only when told that it comes from text.
        _Name.model_validate({"name": name})
        run = AblationRun.model_validate_json(json.dumps({} if values is None else values))
        tolerance = AblationRun.model_validate_json(json.dumps({"tolerance": common})).tolerance
    except ValidationError as error:
        raise InputError(f"{path}: run '{name}': {'; '.join(map(_problem, error.errors()))}") from None
    return run.model_copy(update={"tolerance": {**tolerance, **run.tolerance}})


def _problem(problem: Any) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}'{nearest(key, AblationRun.model_fields)}"
    return f"{key}: {problem['msg']}"
