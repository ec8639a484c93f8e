"""The prediction files of a study's runs, and what is worked out from them over the same resamples of patients.

The interval is that of the mean over seeds, from resampling patients once for all seeds: it says how much the test
patients decide, the standard deviation how much the seed does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_utils.errors import InputError
from data_utils.types import FloatArray
from evaluation.bootstrap import Interval, Statistic, intervals, resample, units_of
from evaluation.headline import Scoring, headline_statistics
from evaluation.paired import in_same_order, sized_as
from evaluation.prediction_file import StoredPass, load

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
