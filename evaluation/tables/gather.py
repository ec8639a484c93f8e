"""What saved results say of each run: values by seed, their mean, a patient-level interval, and what is missing.

Reads results/ablations/plan.json, the state and result of each seed, eval_*.json (values) and predictions_*.jsonl
(intervals). The interval is that of the mean over seeds, from resampling patients once for all seeds: it says how much
the test patients decide, the standard deviation how much the seed does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.ablation_registry import EXTERNAL, AblationRun
from data_utils.errors import InputError
from data_utils.saved_json import read_saved_json
from data_utils.types import FloatArray
from evaluation.bootstrap import Interval, Statistic, intervals, resample, units_of
from evaluation.headline import Scoring, headline_statistics
from evaluation.paired import in_same_order
from evaluation.paper import PAPER_DATASET
from evaluation.prediction_file import StoredPass, load

# measure -> (data it is taken on, its name among an evaluation's metrics)
MEASURES = {
    "ap50": ("test", "ap50"),
    "small": ("test", "ap50_small"),
    "ext_small": (EXTERNAL, "ap50_small"),
    "ext_medium": (EXTERNAL, "ap50_medium"),
    "gflops": ("test", "gflops"),
    "fps": ("test", "fps"),
}
COSTS = ("gflops", "fps")  # properties of network and machine: no interval
PAPER_SIDE, PAPER_EPOCHS = 640, 100
COMMAND = "python run_all_ablations.py"


@dataclass(frozen=True)
class Measured:
    """One measure of one run: by_seed holds what is there, missing why a seed is not; no mean while one is missing."""

    by_seed: Mapping[int, float] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None

    @property
    def mean(self) -> float | None:
        """Mean over all seeds that were asked for, or None."""
        values = list(self.by_seed.values())
        return None if self.missing or not values else sum(values) / len(values)

    @property
    def sd(self) -> float | None:
        """Standard deviation over at least two seeds, or None."""
        if (mean := self.mean) is None or len(self.by_seed) < 2:
            return None
        return math.sqrt(sum((value - mean) ** 2 for value in self.by_seed.values()) / (len(self.by_seed) - 1))


class Study:
    """The saved results below `results_dir`; files are read when first asked for. `notes` grows with what was odd."""

    def __init__(self, results_dir: Path, registry: Mapping[str, AblationRun]) -> None:
        self.folder, self.results_dir, self.registry = results_dir / "ablations", results_dir, registry
        self.notes: list[str] = []
        self._passes: dict[tuple[str, str], dict[int, StoredPass]] = {}
        self._statistics: dict[tuple[str, str], tuple[dict[int, dict[str, Statistic]], int, Scoring]] = {}

    @cached_property
    def planned(self) -> dict[str, Any]:
        """What plan.json says of each run that was ever begun; raises InputError when it cannot be read."""
        path = self.folder / "plan.json"
        if not path.exists():
            return {}
        runs = read_saved_json(path).get("runs")
        if not isinstance(runs, dict):
            raise InputError(f"{path}: not a plan of run_all_ablations.py; move it away and run that again")
        return runs

    def on_paper_data(self, run: str) -> bool:
        """Whether a run was made on the paper's data set, at its input side."""
        plan = self.planned.get(run, {})
        return plan.get("dataset") == PAPER_DATASET and plan.get("imgsz") == PAPER_SIDE

    def measured(self, run: str, measure: str) -> Measured:
        """Gather one measure of one run over its seeds."""
        if run not in self.planned:
            return Measured(missing={0: f"`{COMMAND}` has not been asked for it"})
        data, key = MEASURES[measure]
        by_seed: dict[int, float] = {}
        missing: dict[int, str] = {}
        for seed, folder in self._folders(run).items():
            value = self._value(run, folder, data, key)
            if isinstance(value, str):
                missing[seed] = value
            else:
                by_seed[seed] = value
        low = high = None
        if by_seed and not missing and measure not in COSTS:
            interval = self._interval(run, data, key)
            low, high = interval.bca_low, interval.bca_high
        return Measured(by_seed, missing, low, high)

    def difference(self, run: str, against: str, measure: str) -> tuple[Interval, list[float]] | None:
        """Return `run` minus `against`, means over the seeds both have, with an interval over the same patients.

        Also returns the difference of each seed. None where either lacks a seed, or the two were not scored on the same
        frames (then a note says so).
        """
        data, key = MEASURES[measure]
        one, other = self._seeds_of(run, data), self._seeds_of(against, data)
        if one is None or other is None:
            return None
        (first, n_units, scoring), (second, n_other, _) = one, other
        frames, others = self._passes[run, data], self._passes[against, data]
        seeds = [seed for seed in first if seed in second]
        try:
            if not seeds or n_units != n_other:
                raise InputError("no seed in common" if not seeds else "not the same patients")
            in_same_order(frames[seeds[0]].results, others[seeds[0]].results)
        except InputError as error:
            self.notes.append(f"{run} against {against}: no comparison ({error}).")
            return None
        order = self._units_agree(frames[seeds[0]], others[seeds[0]])
        if not order:
            self.notes.append(f"{run} against {against}: no comparison (the lists are in another order).")
            return None
        mine, theirs = ([each[seed][key] for seed in seeds] for each in (first, second))
        section = scoring.eval
        both = {run: _mean_of(mine), against: _mean_of(theirs)}
        means, ones = resample(both, n_units, section.resamples, section.bootstrap_seed), np.ones((1, n_units))
        by_seed = [float((a(ones) - b(ones))[0]) for a, b in zip(mine, theirs, strict=True)]
        return (means[run] - means[against]).interval(), by_seed

    def seconds(self, run: str) -> float | None:
        """Return the mean training time over the seeds that are there."""
        results = [read_saved_json(self.folder / folder / "result.json") for folder in self._folders(run).values()]
        found = [result.get("seconds") for result in results]
        known = [value for value in found if isinstance(value, int | float)]
        return sum(known) / len(known) if known else None

    def about(self, runs: Sequence[str]) -> list[str]:
        """Say on what data, at which side, for how many epochs and seeds `runs` were made."""
        runs = [run for run in runs if any(map(self._has_result, self._folders(run).values()))]
        plans = [self.planned[run] for run in runs]
        lines = sorted({
            f"Ours: {plan['dataset']} split {plan['split']}, {plan['imgsz']} px, {plan['epochs']} epochs, seeds "
            f"{', '.join(plan['seeds'])}, settings {plan['config']}."
            for plan in plans
        })  # fmt: skip
        if any(plan["epochs"] != PAPER_EPOCHS for plan in plans):
            lines.append(f"The paper trained for {PAPER_EPOCHS} epochs.")
        if not all(map(self.on_paper_data, runs)):
            lines.append("Not the paper's data (ENDO-LC, not public) or input side: differences say nothing about it.")
        return lines

    def _has_result(self, folder: str) -> bool:
        return (self.folder / folder / "result.json").is_file()

    def _folders(self, run: str) -> dict[int, str]:
        return {int(seed): folder for seed, folder in self.planned.get(run, {}).get("seeds", {}).items()}

    def _value(self, run: str, folder: str, data: str, key: str) -> float | str:
        """Return one seed's value, or why there is none."""
        result = read_saved_json(self.folder / folder / "result.json")
        if not result or result.get("key") != self.planned[run].get("key"):
            return self._why_not(run, folder)
        if data not in result["evaluations"]:
            return f"no external set: dataset.external.{data} is not in the settings"
        path = self.results_dir / result["evaluations"][data]
        metrics = read_saved_json(path).get("metrics")
        if not isinstance(metrics, dict):
            return f"failed: {path}: not a whole evaluation; remove result.json in {self.folder / folder} and run again"
        value = metrics.get(key)
        return float(value) if isinstance(value, int | float) else f"not defined: {key} on {data} (no such box)"

    def _why_not(self, run: str, folder: str) -> str:
        state = read_saved_json(self.folder / folder / "state.json")
        if not state or state.get("key") != self.planned[run].get("key"):
            needs = self.planned[run].get("needs")
            return f"needs {needs}" if needs else "not begun"
        if state["state"] in ("running", "done"):
            return "not finished: the same command goes on with it"
        link = " " if state["state"] == "needs" else ": "
        return f"{state['state']}{link}{state.get('why', '')}"

    def _interval(self, run: str, data: str, key: str) -> Interval:
        found = self._seeds_of(run, data)
        if found is None:
            return Interval(None)
        statistics, n_units, scoring = found
        mean = _mean_of([own[key] for own in statistics.values()])
        section = scoring.eval
        return intervals({key: mean}, n_units, section.resamples, section.bootstrap_seed)[key]

    def _seeds_of(self, run: str, data: str) -> tuple[dict[int, dict[str, Statistic]], int, Scoring] | None:
        """Return each seed's statistics over weights of the same patients, their number, and how it was scored."""
        if (run, data) in self._statistics:
            return self._statistics[run, data]
        passes = self._load(run, data)
        if not passes:
            return None
        first = next(iter(passes.values()))
        scoring, (units, names) = Scoring.from_dict(first.about["scoring"]), units_of(first.results)
        try:
            own = {
                seed: headline_statistics(in_same_order(first.results, each.results), scoring, None, units)
                for seed, each in passes.items()
            }
        except InputError as error:
            self.notes.append(f"{run}: no interval ({error}).")
            return None
        self._statistics[run, data] = own, len(names), scoring
        return self._statistics[run, data]

    def _load(self, run: str, data: str) -> dict[int, StoredPass] | None:
        if (run, data) in self._passes:
            return self._passes[run, data]
        passes: dict[int, StoredPass] = {}
        for seed, folder in self._folders(run).items():
            evaluation = read_saved_json(self.folder / folder / "result.json").get("evaluations", {}).get(data)
            if evaluation is None:
                return None
            path = self.results_dir / evaluation
            predictions = path.with_name("predictions" + path.stem.removeprefix("eval") + ".jsonl")
            try:
                passes[seed] = load(predictions)
            except InputError as error:
                self.notes.append(f"{run}, seed {seed}: no interval ({error}).")
                return None
            self.notes += [f"{run}, seed {seed}: {note}" for note in passes[seed].notes]
        self._passes[run, data] = passes
        return passes

    @staticmethod
    def _units_agree(one: StoredPass, other: StoredPass) -> bool:
        """Whether patients are numbered alike in both, so that weights mean the same patients."""
        return units_of(one.results)[1] == units_of(other.results)[1]


def _mean_of(statistics: Sequence[Statistic]) -> Statistic:
    def mean(weights: FloatArray) -> FloatArray:
        return sum((statistic(weights) for statistic in statistics[1:]), statistics[0](weights)) / len(statistics)

    return mean
