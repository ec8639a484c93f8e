"""The runs that are no rows of the paper's tables: each beside the run it is compared with, patient by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_utils.ablation_registry import Measure
from evaluation.bootstrap import Interval, difference_texts
from evaluation.paired import a_side
from evaluation.tables.cells import Cell, cell_of
from evaluation.tables.gather import Study
from evaluation.tables.layout import Laid, Reasons
from evaluation.tables.passes import Difference
from evaluation.tables.published import TABLES

GROUPS = {
    "c1": "Weight of L_SR (figure 3)",
    "open": "What of the branch helps",
    "controls": "What the same compute buys without a branch",
}
OTHER = "Other runs"  # of a registry of one's own: in no group and no table of the paper
PAPER_RUNS = frozenset().union(*(table.runs for table in TABLES))
LEAST_SEEDS = 3  # that must agree before a difference is called one
MEASURES = {"ap50": "AP50", "small": "AP50, small"}
ANSWER_COLUMNS = ("run", "against", "measure", "seeds", "mean", "sd", "low", "high", "difference", "difference_low",
                  "difference_high", "by_seed", "shows", "seconds", "why")  # fmt: skip
NOTES = (
    "Differences are between means over the seeds both runs have; their intervals resample the test patients once for "
    "both, and leave out what another seed would have given. So higher or lower stands only where the interval leaves "
    "0 out and all of at least three seeds agree.",
    "Nothing is corrected for there being many rows: of twenty comparisons without any true difference, one is "
    "expected to look like one.",
    "Minutes: mean over the seeds that were trained in one go; a resumed training does not know its own.",
)


@dataclass(frozen=True)
class Answer:
    """One measure of one run, and its difference from the run it is compared with, or None."""

    run: str
    against: str | None
    cell: Cell
    difference: Difference | None
    seconds: float | None

    def as_row(self) -> dict[str, object]:
        """Return it as a row of `ANSWER_COLUMNS`."""
        cell, interval = self.cell, self.difference[0] if self.difference else Interval(None)
        shows = difference_words(self.difference)[1] or ("" if cell.mean is not None else cell.verdict)
        return {
            **{"run": self.run, "against": self.against, "measure": cell.measure, "seeds": cell.n_seeds},
            **{name: getattr(cell, name) for name in ("mean", "sd", "low", "high", "why")},
            **{"difference": interval.value, "difference_low": interval.bca_low, "difference_high": interval.bca_high},
            "by_seed": ", ".join(f"seed {seed} {value:+.4f}" for seed, value in self.difference[1].items())
            if self.difference
            else "",
            **{"shows": shows, "seconds": self.seconds},
        }


def answers(study: Study) -> dict[str, list[Answer]]:
    """Return each begun group's answers by its title: all runs, partners first, and for each all measures."""
    members: dict[str, list[str]] = {title: [] for title in (*GROUPS.values(), OTHER)}
    for name, run in study.registry.items():
        if run.group in GROUPS or name not in PAPER_RUNS:
            members[GROUPS.get(run.group, OTHER)].append(name)
    found = {}
    for title, runs in members.items():
        partners = [study.registry[name].against for name in runs]
        runs = list(dict.fromkeys([*(partner for partner in partners if partner), *runs]))
        if any(run in study.planned for run in runs):
            found[title] = [_answer(study, run, measure) for run in runs for measure in MEASURES]
    return found


def question_tables(study: Study, found: Mapping[str, Sequence[Answer]]) -> list[Laid]:
    """Lay out one table for each group."""
    return [_table(study, title, own) for title, own in found.items()]


def difference_words(difference: Difference | None) -> tuple[str, str]:
    """Return the difference with its interval, and what it shows, in words, with how many trainings it rests on.

    A difference is called one only when the interval leaves 0 out and every one of at least three seeds agrees.
    """
    if difference is None or difference[0].value is None:
        return "", ""
    interval, by_seed = difference
    assert interval.value is not None
    if interval.bca_low is None or interval.bca_high is None:
        return f"{interval.value:+.3f}", "no interval"
    text = " ".join(difference_texts(interval.value, interval.bca_low, interval.bca_high, sign="+"))
    rests = f" ({a_side(len(by_seed))})"
    if interval.bca_low <= 0 <= interval.bca_high:
        return text, f"no evidence of a difference{rests}"
    agreeing = sum((value > 0) == (interval.value > 0) and value != 0 for value in by_seed.values())
    if agreeing == len(by_seed) >= LEAST_SEEDS:
        return text, f"{'higher' if interval.value > 0 else 'lower'}{rests}"
    return text, f"not settled: {agreeing} of {len(by_seed)} seeds{rests}"


def _answer(study: Study, run: str, measure: str) -> Answer:
    against = study.registry[run].against
    difference = study.difference(run, against, measure) if against else None
    return Answer(run, against, cell_of(study, ((run, measure),)), difference, study.seconds(run))


def _table(study: Study, title: str, own: Sequence[Answer]) -> Laid:
    reasons, rows, runs = Reasons(), [], list(dict.fromkeys(answer.run for answer in own))
    for name in runs:
        measured = [answer for answer in own if answer.run == name]
        against, seconds = measured[0].against, measured[0].seconds
        row = [name + (f", against {against}" if against else "")]
        for answer in measured:
            cell = answer.cell
            row.append(reasons.mark(cell.ours if cell.mean is not None else cell.verdict, cell.why))
            row += difference_words(answer.difference)
        rows.append([*row, "-" if seconds is None else f"{seconds / 60:.1f}"])
    columns = ["mean ± SD [interval]", "difference [interval]", "shows"]
    notes = [f"{name}: {study.registry[name].note}." for name in runs if study.registry[name].note]
    notes += [_published(name, study.registry[name].paper) for name in runs if name not in PAPER_RUNS]
    about = [*filter(None, notes), *study.about(runs), *study.notes_of(runs)]
    groups = [*((label, len(columns)) for label in MEASURES.values()), ("training", 1)]
    all_columns = [*columns * len(MEASURES), "minutes"]
    return Laid(title, groups, all_columns, rows, reasons.found, [*about, *NOTES], "run")


def _published(name: str, paper: Mapping[Measure, float]) -> str:
    """Say what a registry names as published for a run that no table of the paper shows."""
    values = ", ".join(f"{measure} {value:g}" for measure, value in paper.items())
    return f"{name}: published {values}." if values else ""
