"""A robustness study as text: one line for each corruption and severity, and for each source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.bootstrap import difference_texts
from evaluation.report import format_interval, format_table, format_value
from evaluation.robustness_study import CLEAN

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
