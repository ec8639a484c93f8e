"""Rewriting every table and figure of the paper from saved results: Markdown, CSV, LaTeX, HTML, PNG."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_utils.config.ablations import Measure, read_registry
from data_utils.errors import InputError
from data_utils.files import finite, read_saved_json, write_csv, write_text
from evaluation.paper.figures import figure_3, figure_5
from evaluation.paper.layout import COLUMNS, Cell, Laid, Reasons, cell_of, latex, markdown, page
from evaluation.paper.published import EXTERNAL_TABLES, TABLES, PaperTable
from evaluation.paper.results import Difference, Study
from evaluation.plots import read_log
from evaluation.statistics.bootstrap import Interval, difference_texts
from evaluation.statistics.paired import a_side

# The runs that are no rows of the paper's tables: each beside the run it is compared with, patient by patient.


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


# One row for each training of a study: the epoch that was kept, its numbers on validation and on the test list.


VALIDATION = {"val_ap50": "ap50", "val_small": "ap50_small", "val_psnr": "psnr"}  # column -> that of log.csv
TEST = {"test_ap50": "ap50", "test_small": "ap50_small", "test_medium": "ap50_medium", "test_large": "ap50_large",
        "test_map50_95": "map50_95", "gflops": "gflops"}  # fmt: skip
TRAINING_COLUMNS = ("run", "seed", "dataset", "imgsz", "epochs", "best_epoch", *VALIDATION, *TEST, "seconds", "why")


def trainings(study: Study) -> Iterator[dict[str, Any]]:
    """Yield a row of `TRAINING_COLUMNS` for each run that the registry names and each seed that was asked for.

    PSNR in dB; GFLOPs of what remains at inference, at the run's side; seconds of training, None of one that was
    resumed; why: what is missing, where a training has no result.
    Runs of equal settings are one training and have the same numbers.
    """
    for run in study.registry:
        for seed, result in study.results(run).items():
            planned = study.planned[run]
            about = {"run": run, "seed": seed, "dataset": planned.dataset, "imgsz": planned.imgsz}
            yield {**about, **(_numbers(study.results_dir, result) if result else {"why": study.why_not(run, seed)})}


def _numbers(results_dir: Path, result: dict[str, Any]) -> dict[str, Any]:
    best, folder = result.get("best_epoch"), result.get("run")
    kept = _epoch(results_dir / folder / "log.csv", best) if isinstance(folder, str) and best else {}
    metrics = read_saved_json(results_dir / result["evaluations"].get("test", "")).get("metrics") or {}
    return {
        "epochs": result.get("epochs_trained"),
        "best_epoch": best,
        **{column: kept.get(name) for column, name in VALIDATION.items()},
        **{column: finite(metrics.get(name)) for column, name in TEST.items()},
        "seconds": result.get("seconds"),
    }


def _epoch(log_csv: Path, epoch: int) -> dict[str, float | None]:
    """Return an epoch's line of a training log; empty where it is not to be had."""
    try:
        columns, _ = read_log(log_csv)
        row = columns["epoch"].index(epoch)
    except (InputError, ValueError):
        return {}
    return {name: finite(values[row]) for name, values in columns.items()}


HEADING = "SRE-YOLO: the paper's tables, published and ours"
CSV_COLUMNS = ("table", "row", "column", "runs", "measure", "published", "mean", "sd", "low", "high", "seeds",
               "difference", "verdict", "why")  # fmt: skip
LEGEND = (
    "Ours: mean over seeds ± SD over seeds [95 % interval of the mean, from resampling the test patients]; the paper "
    "gives neither. A cell that lacks a seed that was asked for has no mean."
)
FIGURES = {3: figure_3, 5: figure_5}


def rewrite(results_dir: Path, registry_path: Path, out: Path, *, all_tables: bool = False) -> list[Path]:
    """Write ablations.{md,csv,tex,html}, questions.csv, trainings.csv and the figures into `out`; return the files.

    A registry of one's own gets those of the paper's tables and figures that it names a run of. Tables 9 and 10 stand
    only for runs on the paper's data set and side, unless `all_tables` asks for them.
    Raises InputError for a folder that is not there, a registry or a plan that cannot be read; whatever else is missing
    stands in the tables.
    """
    if not results_dir.is_dir():
        raise InputError(f"{results_dir}: no such folder; name the run.results_dir of run_all_ablations.py")
    study = Study(results_dir, read_registry(registry_path))
    shown = [table for table in TABLES if not table.runs.isdisjoint(study.registry)]
    left_out = [] if all_tables else [table.number for table in shown if _is_of_other_data(study, table)]
    gathered = [(table, _cells(study, table)) for table in shown if table.number not in left_out]
    found = answers(study)
    laid = [_laid(study, table, cells) for table, cells in gathered] + question_tables(study, found)
    heading = HEADING if gathered else f"SRE-YOLO: the runs of {registry_path.name}"
    legend, figures = _legend(study, laid, registry_path.name, left_out), _figures(study, out)
    written = [out / f"ablations.{kind}" for kind in ("md", "csv", "tex", "html")]
    pictures = (f"![{caption}]({path.name})\n" for path, caption in figures.items())
    write_text(written[0], "\n".join([markdown(laid, heading, legend), *pictures]))
    write_csv(written[1], CSV_COLUMNS, (row for table, cells in gathered for row in _rows(table, cells)))
    write_text(written[2], latex(laid))
    write_text(written[3], page(laid, heading, legend, [(text, _data_uri(path)) for path, text in figures.items()]))
    once = {(each.run, each.cell.measure): each for own in found.values() for each in own}  # a partner is in two groups
    write_csv(out / "questions.csv", ANSWER_COLUMNS, (each.as_row() for each in once.values()))
    write_csv(out / "trainings.csv", TRAINING_COLUMNS, trainings(study))
    return [*written, out / "questions.csv", out / "trainings.csv", *figures]


def _is_of_other_data(study: Study, table: PaperTable) -> bool:
    """Whether runs of Table 9 or 10 were made on other data than the paper's, or at another input side."""
    begun = [run for run in table.runs if run in study.planned]
    return table.number in EXTERNAL_TABLES and not all(map(study.on_paper_data, begun))


def _legend(study: Study, laid: Sequence[Laid], registry: str, left_out: Sequence[int]) -> str:
    """Return how to read a cell, and what of the results or of the registry is not shown."""
    legend = LEGEND
    if study.not_shown:
        legend += f" Not shown, because {registry} does not name them: {', '.join(study.not_shown)}."
    if left_out:
        legend += (
            f" Tables {' and '.join(map(str, left_out))} of the paper are left out: runs in them have another data set "
            "or input side than its own (`--all-tables` shows them)."
        )
    if not laid:
        legend += f" No table: none of the runs that {registry} names has been begun."
    return legend


def _figures(study: Study, out: Path) -> dict[Path, str]:
    """Draw the figures that the registry names a run of; return their captions by file."""
    named = {number for run in study.registry.values() for number in run.figures}
    files = {number: out / f"figure{number}.png" for number in FIGURES if number in named}
    return {path: _caption(number, FIGURES[number](study, path)) for number, path in files.items()}


def _cells(study: Study, table: PaperTable) -> list[list[Cell]]:
    return [[cell_of(study, source) for source in sources] for _, sources in table.rows]


def _laid(study: Study, table: PaperTable, cells: list[list[Cell]]) -> Laid:
    reasons, rows = Reasons(), []
    for (label, _), own in zip(table.rows, cells, strict=True):
        row = [label]
        for cell in own:
            row += [*cell.texts, reasons.mark(cell.verdict, cell.why)]
        rows.append(row)
    runs = list(dict.fromkeys(run for own in cells for cell in own for run in cell.runs))
    notes = [*table.notes, *study.about(runs), *study.on_other_splits(table.splits), *study.notes_of(runs)]
    groups = [(group, len(COLUMNS)) for group in table.groups]
    return Laid(table.title, groups, COLUMNS * len(groups), rows, reasons.found, notes, paper=table.number)


def _rows(table: PaperTable, cells: list[list[Cell]]) -> Iterator[dict[str, object]]:
    for (label, _), own in zip(table.rows, cells, strict=True):
        for group, cell in zip(table.groups, own, strict=True):
            values = {name: getattr(cell, name) for name in ("measure", "published", "mean", "sd", "low", "high")}
            about = {"table": table.number, "row": label, "column": group, "runs": " ".join(cell.runs)}
            yield {**about, **values, "seeds": cell.n_seeds, "difference": cell.difference, "verdict": cell.verdict,
                   "why": cell.why}  # fmt: skip


def _caption(number: int, missing: list[str]) -> str:
    return f"Figure {number}" + (" (points are missing, see the tables)" if missing else "")


def _data_uri(png: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
