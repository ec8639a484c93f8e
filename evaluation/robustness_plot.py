"""A robustness study as one picture, drawn from its JSON alone: its measures over severity, and by source."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import InputError
from evaluation.robustness_study import CLEAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {"ap50": "AP50", "recall": "sensitivity", "fp_per_frame": "false alarms a frame"}
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
    grid = figure.subplots(len(SHOWN), columns, sharey="row", squeeze=False)
    for axes_row, (measure, label) in zip(grid, SHOWN.items(), strict=True):
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
