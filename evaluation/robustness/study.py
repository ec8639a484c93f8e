"""What bad frames and other sources do to a detector, from stored passes: values, and paired changes, with intervals.

A row is {"by": corruption | source, "name", "severity", "n_frames", "n_boxes", "n_units", "value": {measure: interval},
"change": {measure: interval} or None}; an interval is the fields of
evaluation.statistics.bootstrap.Interval. Measures: MEASURES.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_utils.errors import InputError
from data_utils.records import FrameResult
from evaluation.report.text import format_interval, format_table, format_value
from evaluation.statistics.bootstrap import Interval, Resampled, Statistic, difference_texts, resample, units_of
from evaluation.statistics.headline import Scoring, headline_statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES = ("ap50", "recall", "fp_per_frame")
CLEAN = "clean"
ONLY, WITHOUT = "only", "without"
Cells = Mapping[tuple[str, int], Sequence[FrameResult]]


def corruption_rows(
    clean: Sequence[FrameResult], cells: Cells, scoring: Scoring, threshold: float | None
) -> list[dict[str, Any]]:
    """Return a row for the clean frames, then one for each (kind, severity) of `cells`, changes being from clean.

    The same frames are compared, resampled together: the interval of a change is that of a paired difference.
    Detections above `threshold`, one for all, count for recall and false alarms.
    """
    names = units_of(clean)[1]
    before = _resampled(clean, names, scoring, threshold)
    rows = [_row("corruption", CLEAN, 0, clean, before, None)]
    stems = [result.stem for result in clean]
    for (kind, severity), found in cells.items():
        results = {result.stem: result for result in found}
        assert results.keys() == set(stems), "cells are passes over the clean frames"
        after = _resampled([results[stem] for stem in stems], names, scoring, threshold)
        rows.append(_row("corruption", kind, severity, found, after, before))
    return rows


def source_rows(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None) -> list[dict[str, Any]]:
    """Return two rows for each source of frames: scored on it alone, and on all but it; none for a single source.

    The change of "only" is its difference from the others, of "without" that from all frames. Nothing is trained again.
    """
    sources = sorted({result.source for result in results})
    if len(sources) < 2:
        return []
    names = units_of(results)[1]
    everything = _resampled(results, names, scoring, threshold)
    rows = []
    for source in sources:
        own = [result for result in results if result.source == source]
        others = [result for result in results if result.source != source]
        alone, rest = (_resampled(part, names, scoring, threshold) for part in (own, others))
        for how, part, values, reference in ((ONLY, own, alone, rest), (WITHOUT, others, rest, everything)):
            rows.append(_row("source", f"{how} {source}", None, part, values, reference))
    return rows


def flat_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows for CSV: a column for each value, change and BCa bound."""
    flat = []
    for row in rows:
        cells = {name: row[name] for name in ("by", "name", "severity", "n_frames", "n_boxes", "n_units")}
        for measure in MEASURES:
            for prefix, found in (("", row["value"]), ("change_", row["change"])):
                interval = asdict(Interval(None)) if found is None else found[measure]
                cells[f"{prefix}{measure}"] = interval["value"]
                cells |= {f"{prefix}{measure}_{end}": interval[f"bca_{end}"] for end in ("low", "high")}
        flat.append(cells)
    return flat


def _resampled(
    results: Sequence[FrameResult], names: Sequence[str], scoring: Scoring, threshold: float | None
) -> dict[str, Resampled]:
    """Return MEASURES of `results` under resamples of all units `names`, of which theirs may be a part."""
    units, own = units_of(results)
    place = {name: number for number, name in enumerate(names)}
    columns = np.array([place[name] for name in own], dtype=np.int64)
    statistics = headline_statistics(results, scoring, threshold, units)

    def of_part(statistic: Statistic) -> Statistic:
        return lambda weights: statistic(weights[:, columns])

    parts = {measure: of_part(statistics[measure]) for measure in MEASURES}
    return resample(parts, len(names), scoring.eval.resamples, scoring.eval.bootstrap_seed)


def _row(
    by: str,
    name: str,
    severity: int | None,
    results: Sequence[FrameResult],
    values: Mapping[str, Resampled],
    reference: Mapping[str, Resampled] | None,
) -> dict[str, Any]:
    """Return one row; its change is that from `reference`, paired."""
    change = None
    if reference is not None:
        change = {measure: asdict((value - reference[measure]).interval()) for measure, value in values.items()}
    return {
        "by": by,
        "name": name,
        "severity": severity,
        "n_frames": len(results),
        "n_boxes": sum(len(result.truth_xyxy) for result in results),
        "n_units": len(units_of(results)[1]),
        "value": {measure: asdict(value.interval()) for measure, value in values.items()},
        "change": change,
    }


# A robustness study as text: one line for each corruption and severity, and for each source.


HEADERS = ("", "severity", "AP50", "change", "false alarms a frame", "change", "sensitivity", "change")
SHOWN = ("ap50", "fp_per_frame", "recall")


def format_study(record: Mapping[str, Any]) -> str:
    """Lay out a study, the content of robustness_*.json, as tables and notes."""
    parts = [f"{record['weights']} on {record['data']}: {record['n_frames']} frames"]
    for by in ("corruption", "source"):
        rows = [row for row in record["rows"] if row["by"] == by]
        if rows:
            parts.append(format_table(HEADERS, [_cells(row) for row in rows]))
    parts.append("\n".join(f"- {note}" for note in [*_standing_notes(record), *record["notes"]]))
    return "\n\n".join(parts)


def _cells(row: Mapping[str, Any]) -> list[str]:
    cells = [row["name"].replace("_", " "), "" if row["severity"] is None else str(row["severity"])]
    for measure in SHOWN:
        digits = 2 if measure == "fp_per_frame" else 3
        for found in (row["value"], row["change"]):
            cells.append("" if found is None else _with_interval(found[measure], digits, signed=found is row["change"]))
    if row["by"] == "source":
        cells[1] = f"n={row['n_frames']}"
    return cells


def _with_interval(interval: Mapping[str, Any], digits: int, signed: bool) -> str:
    value = interval["value"]
    if not signed or value is None:
        return f"{format_value(value, digits)} {format_interval(interval, digits)}".strip()
    if interval["bca_low"] is None:
        return f"{value:+.{digits}f}"
    return " ".join(difference_texts(value, interval["bca_low"], interval["bca_high"], digits))


def _standing_notes(record: Mapping[str, Any]) -> list[str]:
    threshold, section, unit = record["threshold"], record["scoring"]["eval"], record["unit"]
    n_units = next(row["n_units"] for row in record["rows"] if row["name"] == CLEAN)
    shown = "none" if threshold["value"] is None else format(threshold["value"], ".3g")
    own = " (so sensitivity and false alarms of the clean frames are optimistic)" if threshold.get("own") else ""
    origin = threshold["origin"].replace("these very", "the clean")
    notes = [
        f"Threshold {shown}, the same in every row, from: {origin}{own}. Fewer false alarms are no gain where "
        "sensitivity falls with them.",
        f"Frames are corrupted as the detector sees them, at {record['imgsz']} px. A change is paired, from the clean "
        "frames; of a source alone, from all others; without it, from all.",
    ]
    if section["resamples"]:
        notes.append(
            f"Intervals: 95 %, BCa, {section['resamples']} resamples of {n_units} {unit}s. All rows are of one "
            "training: what another seed would have given is left out."
        )
    if unit != "patient":
        notes.append(f"The frames are grouped by {unit}, not by patient: intervals may be too narrow.")
    if not any(row["by"] == "source" for row in record["rows"]):
        notes.append("All frames are of one source: leaving one out says nothing here.")
    else:
        notes.append("Sources are left out of the scoring, not of the training: the detector is the same in each row.")
    return notes


# A robustness study as one picture, drawn from its JSON alone: its measures over severity, and by source.


PLOTTED = {"ap50": "AP50", "recall": "sensitivity", "fp_per_frame": "false alarms a frame"}
SHARES = ("ap50", "recall")  # drawn from 0 to 1
INK, GREY = "#1d4ed8", "#9ca3af"


def draw(study_json: str | Path, out_png: str | Path) -> None:
    """Draw the study: a column for each corruption, and one for the sources where there are several.

    Bands and bars are 95 % intervals, the grey line is the clean frames. Raises InputError for another kind of file.
    """
    from matplotlib.figure import Figure

    try:
        record = json.loads(Path(study_json).read_text(encoding="utf-8"))
        rows = record["rows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{study_json}: not a robustness study ({error}); run evaluation.robustness again") from None
    bad = [row["name"] for row in rows if row["by"] == "corruption" and row["name"] != CLEAN]
    kinds: list[str] = list(dict.fromkeys(bad))
    sources = [row for row in rows if row["by"] == "source"]
    clean = next(row for row in rows if row["name"] == CLEAN)
    columns = max(1, len(kinds) + bool(sources))
    figure = Figure(figsize=(1 + 1.75 * columns, 6.4), layout="constrained")
    grid = figure.subplots(len(PLOTTED), columns, sharey="row", squeeze=False)
    for axes_row, (measure, label) in zip(grid, PLOTTED.items(), strict=True):
        axes_row[0].set_ylabel(label)
        for axes, kind in zip(axes_row, kinds, strict=False):
            _over_severity(axes, [clean, *(row for row in rows if row["name"] == kind)], measure)
        if sources:
            _by_source(axes_row[-1], sources, measure)
        for axes in axes_row:
            _clean_line(axes, clean, measure)
            axes.set_ylim(bottom=0, **({"top": 1} if measure in SHARES else {}))
    titles: list[str] = [*kinds, "source"] if sources else kinds
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title.replace("_", " "), fontsize=9)
    figure.suptitle(f"{Path(record['weights']).name} on {record['data']}, n = {record['n_frames']} frames", fontsize=10)
    if kinds:
        figure.supxlabel("severity (0: clean frames)", fontsize=9)
    _save(figure, Path(out_png))


def _over_severity(axes: Axes, rows: Sequence[Mapping[str, Any]], measure: str) -> None:
    shown = [row for row in rows if row["value"][measure]["value"] is not None]
    severities = [row["severity"] for row in shown]
    axes.plot(severities, [row["value"][measure]["value"] for row in shown], color=INK, marker="o", markersize=3)
    banded = [row for row in shown if row["value"][measure]["bca_low"] is not None]
    low, high = ([row["value"][measure][f"bca_{end}"] for row in banded] for end in ("low", "high"))
    axes.fill_between([row["severity"] for row in banded], low, high, color=INK, alpha=0.18, linewidth=0)
    axes.set_xticks(range(6))
    axes.set_xlim(-0.2, 5.2)


def _by_source(axes: Axes, rows: Sequence[Mapping[str, Any]], measure: str) -> None:
    for place, row in enumerate(rows):
        interval = row["value"][measure]
        if interval["value"] is None:
            continue
        if interval["bca_low"] is not None:
            axes.vlines(place, interval["bca_low"], interval["bca_high"], color=INK, alpha=0.5)
        axes.plot([place], [interval["value"]], color=INK, marker="o", markersize=4)
    axes.set_xticks(range(len(rows)), [row["name"] for row in rows], rotation=60, ha="right", fontsize=6)


def _clean_line(axes: Axes, clean: Mapping[str, Any], measure: str) -> None:
    value = clean["value"][measure]["value"]
    if value is not None:
        axes.axhline(value, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)


def _save(figure: Figure, out_png: Path) -> None:
    temporary = out_png.with_name(f".{out_png.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, dpi=130, format="png")
        os.replace(temporary, out_png)
    finally:
        temporary.unlink(missing_ok=True)
