"""What bad frames and other sources do to a detector, from stored passes: values, and paired changes, with intervals.

A row is {"by": corruption | source, "name", "severity", "n_frames", "n_boxes", "n_units", "value": {measure: interval},
"change": {measure: interval} or None}; an interval is the fields of evaluation.bootstrap.Interval. Measures: MEASURES.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from data_utils.types import FrameResult
from evaluation.bootstrap import Interval, Resampled, Statistic, resample, units_of
from evaluation.headline import Scoring, headline_statistics

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
