"""Rewriting every table and figure of the paper from saved results: Markdown, CSV, LaTeX, HTML, PNG."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_utils.ablation_registry import read_registry
from data_utils.atomic import write_csv, write_text
from data_utils.errors import InputError
from evaluation.tables.cells import Cell, cell_of
from evaluation.tables.figures import figure_3, figure_5
from evaluation.tables.gather import Study
from evaluation.tables.latex import latex
from evaluation.tables.layout import COLUMNS, Laid, Reasons, markdown, page
from evaluation.tables.published import EXTERNAL_TABLES, TABLES, PaperTable
from evaluation.tables.questions import ANSWER_COLUMNS, answers, question_tables
from evaluation.tables.trainings import TRAINING_COLUMNS, trainings

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
