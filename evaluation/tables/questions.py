"""The runs that are no rows of the paper's tables: each beside the run it is compared with, patient by patient."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.bootstrap import Interval
from evaluation.tables.cells import Cell, cell_of
from evaluation.tables.gather import Study
from evaluation.tables.layout import Laid, Reasons

GROUPS = {
    "c1": "Weight of L_SR (figure 3)",
    "open": "What of the branch helps",
    "controls": "What the same compute buys without a branch",
}
LEAST_SEEDS = 3  # that must agree before a difference is called one
MEASURES = {"ap50": "AP50", "small": "AP50, small"}
NOTES = (
    "Differences are between means over the seeds both runs have; their intervals resample the test patients once for "
    "both, and leave out what another seed would have given. So higher or lower stands only where the interval leaves "
    "0 out and all of at least three seeds agree.",
    "Nothing is corrected for there being many rows: of twenty comparisons without any true difference, one is "
    "expected to look like one.",
)


def question_tables(study: Study) -> list[Laid]:
    """Lay out one table for each group of runs that has any begun."""
    tables = []
    for group, title in GROUPS.items():
        runs = [name for name, run in study.registry.items() if run.group == group]
        partners = [study.registry[name].against for name in runs]
        runs = list(dict.fromkeys([*(partner for partner in partners if partner), *runs]))
        if any(run in study.planned for run in runs):
            tables.append(_table(study, title, runs))
    return tables


def difference_words(difference: tuple[Interval, list[float]] | None) -> tuple[str, str]:
    """Return the difference with its interval, and what it shows, in words.

    A difference is called one only when the interval leaves 0 out and every one of at least three seeds agrees.
    """
    if difference is None or difference[0].value is None:
        return "", ""
    interval, by_seed = difference
    assert interval.value is not None
    if interval.bca_low is None or interval.bca_high is None:
        return f"{interval.value:+.3f}", "no interval"
    text = f"{interval.value:+.3f} [{interval.bca_low:+.3f}, {interval.bca_high:+.3f}]"
    if interval.bca_low <= 0 <= interval.bca_high:
        return text, "no evidence of a difference"
    agreeing = sum((value > 0) == (interval.value > 0) and value != 0 for value in by_seed)
    if agreeing == len(by_seed) >= LEAST_SEEDS:
        return text, "higher" if interval.value > 0 else "lower"
    return text, f"not settled: {agreeing} of {len(by_seed)} seeds"


def _table(study: Study, title: str, runs: Sequence[str]) -> Laid:
    reasons, rows, noted_before = Reasons(), [], len(study.notes)
    for name in runs:
        run = study.registry[name]
        row = [name + (f", against {run.against}" if run.against else "")]
        for measure in MEASURES:
            cell = cell_of(study, ((name, measure),))
            row += [_ours(cell, reasons), *_against(study, name, run.against, measure)]
        seconds = study.seconds(name)
        rows.append([*row, "-" if seconds is None else f"{seconds / 60:.1f}"])
    columns = ["mean ± SD [interval]", "difference [interval]", "shows"]
    notes = [f"{name}: {study.registry[name].note}." for name in runs if study.registry[name].note]
    notes += [*study.about(runs), *study.notes[noted_before:], *NOTES]
    groups = [*((label, len(columns)) for label in MEASURES.values()), ("training", 1)]
    return Laid(title, groups, [*columns * len(MEASURES), "minutes"], rows, reasons.found, notes, "run")


def _ours(cell: Cell, reasons: Reasons) -> str:
    return reasons.mark(cell.ours if cell.mean is not None else cell.verdict, cell.why)


def _against(study: Study, name: str, against: str | None, measure: str) -> tuple[str, str]:
    return ("", "") if against is None else difference_words(study.difference(name, against, measure))
