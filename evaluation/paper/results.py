"""What saved results say of each run: values by seed, their mean, a patient-level interval, and what is missing.

Reads results/ablations/plan.json, the state and result of each seed, and eval_*.json; intervals: see passes.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data_utils.config.ablations import EXTERNAL, AblationRun
from data_utils.errors import InputError
from data_utils.files import finite, read_saved_json
from data_utils.records import FloatArray
from evaluation.paper.published import PAPER_DATASET, PAPER_EPOCHS, PAPER_SIDE
from evaluation.passes.stored import StoredPass, load
from evaluation.statistics.bootstrap import Interval, Statistic, intervals, resample, units_of
from evaluation.statistics.headline import Scoring, headline_statistics
from evaluation.statistics.paired import in_same_order, sized_as

# The prediction files of a study's runs, and what is worked out from them over the same resamples of patients.
#
# The interval is that of the mean over seeds, from resampling patients once for all seeds: it says how much the test
# patients decide, the standard deviation how much the seed does.


Statistics = tuple[dict[int, dict[str, Statistic]], int, Scoring]  # by seed, number of units, how it was scored
Difference = tuple[Interval, dict[int, float]]  # between means over seeds, and of each seed
Files = Callable[[str, str], Mapping[int, Path | None]]  # run, data -> each seed's evaluation
Note = Callable[[str, str], None]  # run, what is odd about it


class Passes:
    """The stored passes of all runs; each file is read when first asked for, and then kept. `note` is told oddities."""

    def __init__(self, files: Files, note: Note) -> None:
        self._files, self._note = files, note
        self._loaded: dict[tuple[str, str], dict[int, StoredPass] | None] = {}
        self._statistics: dict[tuple[str, str], Statistics | None] = {}

    def interval(self, run: str, data: str, key: str) -> Interval:
        """Return the interval of the mean over a run's seeds; none where a file of a seed cannot be read."""
        found = self._statistics_of(run, data)
        if found is None:
            return Interval(None)
        statistics, n_units, scoring = found
        mean, section = _mean_of([own[key] for own in statistics.values()]), scoring.eval
        return intervals({key: mean}, n_units, section.resamples, section.bootstrap_seed)[key]

    def difference(self, run: str, against: str, data: str, key: str) -> Difference | None:
        """Return `run` minus `against` over the seeds both have, and that of each seed; see Study.difference."""
        one, other = self._statistics_of(run, data), self._statistics_of(against, data)
        if one is None or other is None:
            return None
        (first, n_units, scoring), (second, _, partners) = one, other
        seeds = [seed for seed in first if seed in second]
        if problem := self._not_comparable((run, against), data, seeds):
            self._note(run, f"{run} against {against}: no comparison ({problem}).")
            return None
        if scoring.imgsz != partners.imgsz and scoring.eval.size_reference != "original" and key != "ap50":
            first = self._sized_as(run, against, data, seeds)
            self._note(run, f"{run} against {against}: the difference counts sizes in pixels of {against}'s input, "
                            f"{partners.imgsz} px, the mean in its own, {scoring.imgsz} px.")  # fmt: skip
        if alone := sorted(first.keys() ^ second.keys()):
            there, gone = (", ".join(map(str, some)) for some in (seeds, alone))
            self._note(run, f"{run} against {against}: difference over seeds {there}; only one of them has {gone}.")
        mine, theirs = ([each[seed][key] for seed in seeds] for each in (first, second))
        section, ones = scoring.eval, np.ones((1, n_units))
        both = {"run": _mean_of(mine), "against": _mean_of(theirs)}
        means = resample(both, n_units, section.resamples, section.bootstrap_seed)
        by_seed = {seed: float((first[seed][key](ones) - second[seed][key](ones))[0]) for seed in seeds}
        return (means["run"] - means["against"]).interval(), by_seed

    def _statistics_of(self, run: str, data: str) -> Statistics | None:
        """Return each seed's statistics over weights of the same patients, their number, and how it was scored."""
        if (run, data) not in self._statistics:
            passes = self._load(run, data)
            try:
                self._statistics[run, data] = _work_out(passes) if passes else None
            except InputError as error:
                self._note(run, f"{run}: no interval ({error}).")
                self._statistics[run, data] = None
        return self._statistics[run, data]

    def _load(self, run: str, data: str) -> dict[int, StoredPass] | None:
        """Return what the prediction files of all seeds hold; None, with a note, where one cannot be read."""
        if (run, data) in self._loaded:
            return self._loaded[run, data]
        passes: dict[int, StoredPass] | None = {}
        for seed, evaluation in self._files(run, data).items():
            try:
                if evaluation is None:
                    raise InputError("no result")
                name = "predictions" + evaluation.stem.removeprefix("eval") + ".jsonl"
                passes[seed] = load(evaluation.with_name(name))
            except InputError as error:
                self._note(run, f"{run}, seed {seed}: no interval ({error}).")
                passes = None
                break
            for note in passes[seed].notes:
                self._note(run, f"{run}, seed {seed}: {note}")
        self._loaded[run, data] = passes
        return passes

    def _sized_as(self, run: str, against: str, data: str, seeds: Sequence[int]) -> dict[int, dict[str, Statistic]]:
        """Return a run's statistics with sizes counted in pixels of its partner's input, which the cutoffs fit."""
        own, others = self._loaded[run, data], self._loaded[against, data]
        assert own
        assert others
        like = others[seeds[0]].results
        return _work_out({seed: replace(own[seed], results=sized_as(like, own[seed].results)) for seed in seeds})[0]

    def _not_comparable(self, runs: tuple[str, str], data: str, seeds: Sequence[int]) -> str | None:
        """Return why two runs' seeds cannot be compared, patient by patient, or None."""
        if not seeds:
            return "no seed in common"
        one, other = (passes[seeds[0]] for run in runs if (passes := self._loaded[run, data]))
        first, second = (Scoring.from_dict(stored.about["scoring"]) for stored in (one, other))
        if rule := first.other_rule(second):
            return f"not scored by the same rules: {rule}"
        try:
            in_same_order(one.results, other.results)
        except InputError as error:
            return str(error)
        same_order = units_of(one.results)[1] == units_of(other.results)[1]  # weights must mean the same patients
        return None if same_order else "the lists are in another order"


def _work_out(passes: Mapping[int, StoredPass]) -> Statistics:
    """Work out all seeds' statistics; raises InputError where they are not of the same frames, scored by one rule."""
    first = next(iter(passes.values()))
    scoring, (units, names) = Scoring.from_dict(first.about["scoring"]), units_of(first.results)
    for seed, each in passes.items():
        if rule := scoring.other_rule(Scoring.from_dict(each.about["scoring"])):
            raise InputError(f"the seeds were not scored by the same rules; seed {seed}: {rule}")
    own = {
        seed: headline_statistics(in_same_order(first.results, each.results), scoring, None, units)
        for seed, each in passes.items()
    }
    return own, len(names), scoring


def _mean_of(statistics: Sequence[Statistic]) -> Statistic:
    def mean(weights: FloatArray) -> FloatArray:
        return sum((statistic(weights) for statistic in statistics[1:]), statistics[0](weights)) / len(statistics)

    return mean


# What run_all_ablations.py leaves below <results>/ablations, read back so that a damaged file does no harm.


VERSION = 1  # of the plan's layout
FOLDER, PLAN, STATE, RESULT = "ablations", "plan.json", "state.json", "result.json"
NUMBERS = ("ap50", "fps", "gflops", "epochs_trained")  # that a result holds; None where one is not defined


class PlannedRun(BaseModel):
    """What plan.json says of one run. seeds: {seed: its folder, below <results>/ablations}.

    base: stands for what the command asked of all runs, epochs included; where it differs, more than overrides does.
    settings: the command's own key=value texts. Both are None in plans made before they were noted.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    key: str
    seeds: Annotated[dict[Annotated[str, Field(pattern=r"^\d+$")], str], Field(min_length=1)]
    split: int
    overrides: list[str] | None = None
    config: str
    dataset: str
    external: list[str] = Field(default_factory=list)
    imgsz: int
    epochs: int
    needs: str | None = None
    base: str | None = None
    settings: list[str] | None = None

    @property
    def folders(self) -> dict[int, str]:
        """The folder of each seed, in order."""
        return {int(seed): self.seeds[seed] for seed in sorted(self.seeds, key=int)}

    @property
    def made_from(self) -> str:
        """Config file and settings, without those of place and machine."""
        own = [text for text in self.settings or () if not text.startswith(("run.", "dataset."))]
        return " ".join([self.config, *own])


_PLANNED = TypeAdapter(dict[str, PlannedRun])


def plan_path(results_dir: str | Path) -> Path:
    """Return where it is noted which folder holds each run's seeds."""
    return Path(results_dir) / FOLDER / PLAN


def read_plan(results_dir: str | Path) -> dict[str, PlannedRun]:
    """Return what was ever planned there, by run; empty before the first. Raises InputError for a damaged file."""
    path = plan_path(results_dir)
    if not path.exists():
        return {}
    reason, values = "torn", read_saved_json(path)
    if values.get("version", VERSION) != VERSION:
        raise InputError(
            f"{path}: of version {values['version']}, this project reads version {VERSION}; use the one that wrote it, "
            "or another folder: run.results_dir=PATH"
        )
    try:
        return _PLANNED.validate_python(values.get("runs"))
    except ValidationError as error:
        first = error.errors()[0]
        reason = ".".join(map(str, first["loc"])) or reason
    raise InputError(
        f"{path}: not a plan of run_all_ablations.py ({reason}); move it away and run that again with all runs and "
        "seeds that the tables are to show: what is finished is not repeated"
    )


def read_result(folder: Path) -> dict[str, Any]:
    """Return the result in a seed's folder; empty when it is missing, torn, or not as it was written."""
    result = read_saved_json(folder / RESULT)
    files = result.get("evaluations")
    return result if isinstance(files, dict) and all(isinstance(path, str) for path in files.values()) else {}


def has_numbers(result: Mapping[str, Any]) -> bool:
    """Say whether each of `NUMBERS` is there, as a number or as None."""
    return all(name in result and (result[name] is None or finite(result[name]) is not None) for name in NUMBERS)


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
SHOWN = 5e-4  # half of the last digit that the tables show of AP50
COMMAND = "python run_all_ablations.py"


@dataclass(frozen=True)
class Measured:
    """One measure of one run: by_seed holds what is there, missing why a seed is not; no mean while one is missing.

    ran: whether any seed has a result, be it without this measure.
    """

    by_seed: Mapping[int, float] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)
    ran: bool = False
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
    """The saved results below `results_dir`; files are read when first asked for, and then kept."""

    def __init__(self, results_dir: Path, registry: Mapping[str, AblationRun]) -> None:
        self.folder, self.results_dir, self.registry = results_dir / FOLDER, results_dir, registry
        self._notes: dict[tuple[str, str], None] = {}  # (run, what was odd), each once
        self._results: dict[str, dict[int, dict[str, Any]]] = {}
        self._measured: dict[tuple[str, str], Measured] = {}
        self._passes = Passes(self._evaluations, self._note)

    @cached_property
    def planned(self) -> dict[str, PlannedRun]:
        """What plan.json says of each run that was ever begun; raises InputError when it cannot be read."""
        return read_plan(self.results_dir)

    @property
    def not_shown(self) -> list[str]:
        """Runs that were asked for and that this registry does not name."""
        return [run for run in self.planned if run not in self.registry]

    def on_paper_data(self, run: str) -> bool:
        """Whether a run was made on the paper's data set, at its input side."""
        return self.at_paper_side(run) and self.planned[run].dataset == PAPER_DATASET

    def at_paper_side(self, run: str) -> bool:
        """Whether a run's input has the paper's side, on which GFLOPs depend."""
        return run in self.planned and self.planned[run].imgsz == PAPER_SIDE

    def on_other_splits(self, splits: Mapping[str, int]) -> list[str]:
        """Say which runs were made on another split than their rows name."""
        return [
            f"{run} was run on split {self.planned[run].split}, not on split {split} as its row says."
            for run, split in splits.items()
            if run in self.planned and self.planned[run].split != split
        ]

    def notes_of(self, runs: Sequence[str]) -> list[str]:
        """Return what was odd about these runs, as far as they were asked for."""
        return list(dict.fromkeys(text for run, text in self._notes if run in runs))

    def measured(self, run: str, measure: str) -> Measured:
        """Gather one measure of one run over its seeds."""
        if (run, measure) not in self._measured:
            self._measured[run, measure] = self._gather(run, measure)
        return self._measured[run, measure]

    def difference(self, run: str, against: str, measure: str) -> Difference | None:
        """Return `run` minus `against`, means over the seeds both have, with an interval over the same patients.

        Also returns the difference of each seed. None where a seed of either has no value, and, with a note, where the
        two cannot be compared. A note names seeds that only one of them has.
        """
        if self.measured(run, measure).mean is None or self.measured(against, measure).mean is None:
            return None  # the cells say why
        self._note_other_base(run, against)
        return self._passes.difference(run, against, *MEASURES[measure])

    def results(self, run: str) -> dict[int, dict[str, Any]]:
        """Return the result of each seed asked for; empty where it is missing, damaged or of other settings."""
        if run not in self._results:
            self._results[run] = {seed: self._result(run, folder) for seed, folder in self._folders(run).items()}
        return self._results[run]

    def why_not(self, run: str, seed: int) -> str:
        """Say in one line why a seed that was asked for has no result."""
        planned = self.planned[run]
        state = read_saved_json(self.folder / planned.folders[seed] / STATE)
        name = state.get("state")
        if not state or state.get("key") != planned.key:
            why = f"needs {planned.needs}" if planned.needs else "not begun"
        elif name in ("needs", "stopped", "failed"):
            why = f"{name}{' ' if name == 'needs' else ': '}{state.get('why', '')}"
        else:
            why = "not finished: the same command goes on with it"
        return " ".join(why.split())

    def seconds(self, run: str) -> float | None:
        """Return the mean training time over the seeds that were trained in one go."""
        found = [finite(result.get("seconds")) for result in self.results(run).values()]
        known = [value for value in found if value is not None]
        return sum(known) / len(known) if known else None

    def about(self, runs: Sequence[str]) -> list[str]:
        """Say on what data, at which side, for how many epochs and seeds `runs` were made."""
        runs = [run for run in runs if any(map(self._has_result, self._folders(run).values()))]
        plans = [self.planned[run] for run in runs]
        lines = sorted({
            f"Ours: {plan.dataset} split {plan.split}, {plan.imgsz} px, {plan.epochs} epochs, seeds "
            f"{', '.join(map(str, plan.folders))}, settings {plan.made_from}."
            for plan in plans
        })  # fmt: skip
        if any(plan.epochs != PAPER_EPOCHS for plan in plans):
            lines.append(f"The paper trained for {PAPER_EPOCHS} epochs.")
        if not all(map(self.on_paper_data, runs)):
            lines.append("Not the paper's data (ENDO-LC, not public) or input side: it is not tested by this.")
        return lines

    def _note(self, run: str, text: str) -> None:
        self._notes[run, text] = None

    def _has_result(self, folder: str) -> bool:
        return (self.folder / folder / RESULT).is_file()

    def _folders(self, run: str) -> dict[int, str]:
        return self.planned[run].folders if run in self.planned else {}

    def _gather(self, run: str, measure: str) -> Measured:
        if run not in self.planned:
            known = f"`{COMMAND}` has not been asked for it" if run in self.registry else "the registry has no such run"
            return Measured(missing={0: known})
        self._note_other_overrides(run)
        data, key = MEASURES[measure]
        values = {seed: self._value(run, seed, data, key) for seed in self._folders(run)}
        by_seed = {seed: value for seed, value in values.items() if not isinstance(value, str)}
        missing = {seed: value for seed, value in values.items() if isinstance(value, str)}
        ran = any(self.results(run).values())
        if missing or measure in COSTS:
            return Measured(by_seed, missing, ran)
        interval = self._passes.interval(run, data, key)
        return Measured(by_seed, missing, ran, interval.bca_low, interval.bca_high)

    def _result(self, run: str, folder: str) -> dict[str, Any]:
        """Return one seed's result; empty where it is missing, damaged or of other settings."""
        result = read_result(self.folder / folder)
        return result if result.get("key") == self.planned[run].key else {}

    def _evaluations(self, run: str, data: str) -> dict[int, Path | None]:
        """Return the file of each seed's evaluation on `data`, None where a seed has none."""
        files = {seed: result.get("evaluations", {}).get(data) for seed, result in self.results(run).items()}
        return {seed: None if file is None else self.results_dir / file for seed, file in files.items()}

    def _value(self, run: str, seed: int, data: str, key: str) -> float | str:
        """Return one seed's value, or why there is none."""
        result, folder = self.results(run)[seed], self._folders(run)[seed]
        if not result:
            return self.why_not(run, seed)
        if data not in result["evaluations"]:
            return f"no external set: dataset.external.{data} is not in the settings"
        path = self.results_dir / result["evaluations"][data]
        metrics = read_saved_json(path).get("metrics")
        if not isinstance(metrics, dict):
            return f"failed: {path}: not a whole evaluation; remove {RESULT} in {self.folder / folder} and run again"
        if data == "test":
            self._note_change(run, folder, result, metrics)
        value = finite(metrics.get(key))
        return f"not defined: {key} on {data} (no such box)" if value is None else value

    def _note_other_base(self, run: str, against: str) -> None:
        """Note where two runs differ in more than their overrides, by what the commands asked of all runs."""
        one, other = self.planned[run], self.planned[against]
        known = one.base is not None and other.base is not None
        if one.base != other.base if known else (one.split, one.config) != (other.split, other.config):
            made = (f"split {its.split}, {its.imgsz} px, {its.epochs} epochs, {its.made_from}" for its in (one, other))
            self._note(run, f"{run} against {against}: they differ in more than overrides ({'; '.join(made)}).")

    def _note_other_overrides(self, run: str) -> None:
        """Note where the registry has changed since the run was planned, or is not the one it was planned from."""
        then, now = self.planned[run].overrides, self.registry.get(run)
        if now and then is not None and then != list(now.overrides):
            texts = (" ".join(some) or "no overrides" for some in (then, now.overrides))
            self._note(run, "{}: run with {}; the registry now says {}.".format(run, *texts))

    def _note_change(self, run: str, folder: str, result: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Note where the evaluation is no longer the one that the runner made."""
        then, now = finite(result.get("ap50")), finite(metrics.get("ap50"))
        if then is not None and now is not None and abs(now - then) > SHOWN:
            self._note(run, f"{run}: {folder} was evaluated again by other rules: AP50 {now:.3f}, {then:.3f} before.")
