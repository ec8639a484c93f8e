"""The report as a whole: its title, its first numbers, and its sections in order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from evaluation.report import format_value
from evaluation.reporting.opening import headline_section
from evaluation.reporting.provenance import data_section, ledger_words, provenance_section
from evaluation.reporting.run_files import RunFiles
from evaluation.reporting.sections import curve_sections, picture_sections, table_sections, training_section
from evaluation.reporting.wording import between, object_noun, percent

CLOSING = ("This page loads nothing and sends nothing. Patients are hashed and file names left out; pictures come from "
           "the prepared copies alone, without metadata, but show parts of frames with whatever was burned into them: "
           "handle the page as the frames themselves.")  # fmt: skip
CLOSING_WITHOUT = "This page loads nothing, sends nothing, and shows no frame."


def page_values(files: RunFiles, with_pictures: bool) -> dict[str, Any]:
    """Return what the template needs."""
    sections = [
        headline_section(files),
        *curve_sections(files),
        *table_sections(files),
        *picture_sections(files, with_pictures),
        training_section(files),
        data_section(files),
        provenance_section(files),
    ]
    return {
        "title": f"{files.record.get('data', 'Evaluation')}: {_model(files)}",
        "subtitle": ledger_words(files),
        "totals": totals(files.metrics),
        "sections": sections,
        "closing": CLOSING if with_pictures else CLOSING_WITHOUT,
    }


def totals(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (value, label) of the few numbers shown large."""
    intervals = metrics["intervals"]

    def with_interval(label: str, key: str, as_percent: bool = False, digits: int = 3) -> str:
        text = between(intervals.get(key), as_percent, digits=digits)
        return f"{label} ({text})" if text else label

    alarms = intervals.get("fp_per_frame", {}).get("value")
    return [
        (format_value(metrics["ap50"]), with_interval("AP50", "ap50")),
        (percent(metrics["recall"]), with_interval(f"of {object_noun(metrics)}s found", "recall", as_percent=True)),
        (percent(metrics["precision"]), with_interval("of detections right", "precision", as_percent=True)),
        (format_value(alarms, 2), with_interval("false alarms a frame", "fp_per_frame", digits=2)),
    ]


def _model(files: RunFiles) -> str:
    weights = PurePath(str(files.record.get("weights", "weights unknown")))
    run = files.record_file.parent.name
    return f"{run}, {weights.stem}" if weights.parent.name == run else weights.name
