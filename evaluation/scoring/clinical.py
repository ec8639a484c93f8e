"""What a clinician asks: which lesions are found, of which size, in whom, and what the false alarms cost.

Every function counts detections above one threshold, except FROC, which goes through all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_utils.records import FrameResult, IntArray
from evaluation.scoring.ap import area_ranges, average_precision, rank_hits, ratio
from evaluation.scoring.froc import FALSE_ALARM_RATES, HIT_NAMES, HITS, froc_curve, rate_name, sensitivity_at
from evaluation.scoring.matching import Criterion, MatchTable, match_frames
from evaluation.scoring.operating_points import FrameCounts, frame_counts
from evaluation.statistics.bootstrap import LEVEL, resample_weights, units_of
from evaluation.statistics.headline import Scoring, frame_table, patients_found

CURVE_POINTS = 48  # of the smooth curve over lesion size
LEAST_LESIONS = 8  # fewer give no curve
CALIBRATION_BINS = 10
CALIBRATED_FROM = 0.1  # scores below this are the detector's floor: thousands of them would drown the others


def froc(results: Sequence[FrameResult], scoring: Scoring) -> dict[str, Any]:
    """Return, for each meaning of a hit, its name, the sensitivities at FALSE_ALARM_RATES, overall and by size.

    The curve of all lesions is there too. By size, lesions of other sizes are ignored with what hits them, and so are
    false alarms of other sizes. Sensitivities are None without lesions.
    """
    ranges = area_ranges(scoring.eval.size_cutoffs)
    n_frames, one = np.array([float(len(results))]), np.ones((1, 1))
    view = {}
    for key, hit in HITS.items():
        criteria = [hit, *(Criterion(hit.threshold, area, hit.overlap) for area in ranges.values())]
        table = match_frames(results, criteria, scoring.eval.max_det, scoring.eval.size_reference)
        rows = {}
        for row, name in enumerate(["all", *ranges]):
            hits = rank_hits(table, row, ties_together=True)
            values = sensitivity_at(hits, one, n_frames)[0] if results else [np.nan]
            at_rates = zip(FALSE_ALARM_RATES, values, strict=False)
            n_lesions = int(table.counted[row].sum())
            rows[name] = {"n_lesions": n_lesions, **{rate_name(rate): _defined(value) for rate, value in at_rates}}
        view[key] = {
            "hit": HIT_NAMES[key],
            "sensitivity": rows,
            "curve": froc_curve(rank_hits(table, 0, ties_together=True), len(results)),
        }
    return view


def healthy_view(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None) -> dict[str, Any]:
    """Return false alarms on frames without a lesion; rates are None where there are no such frames."""
    counts = frame_counts(frame_table(results, scoring), 0, threshold)
    healthy = np.array([result.is_healthy for result in results], dtype=bool)
    n_healthy, fp = int(healthy.sum()), counts.fp
    return {
        "n_frames": n_healthy,
        "n_false_alarms": int(fp[healthy].sum()),
        "fp_per_frame": fp[healthy].sum() / n_healthy if n_healthy else None,
        "clean_share": np.count_nonzero(fp[healthy] == 0) / n_healthy if n_healthy else None,
    }


def sensitivity_view(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None) -> dict[str, Any]:
    """Return how many lesions, and how many patients with a lesion, were found."""
    table = frame_table(results, scoring)
    counts, (units, _) = frame_counts(table, 0, threshold), units_of(results)
    n_patients, n_found = patients_found(results, counts, units)
    lesions, patients = len(counts.found), int(n_patients.sum())
    return {
        "n_lesions": lesions,
        "n_lesions_found": int(counts.found.sum()),
        "per_lesion": counts.found.mean() if lesions else None,
        "n_patients": patients,
        "n_patients_found": int(n_found.sum()),
        "per_patient": n_found.sum() / patients if patients else None,
    }


def breakdown(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None) -> list[dict[str, Any]]:
    """Return one row for each source, modality, size bucket and class, each with the numbers it rests on.

    Rows of sources and modalities are made of whole frames and have AP and false alarms a frame; those of sizes and
    classes are made of lesions and have their sensitivity alone (their AP is among the headline numbers).
    """
    table = frame_table(results, scoring)
    counts = frame_counts(table, 0, threshold)
    rows = []
    for by in ("source", "modality"):
        names = np.array([getattr(result, by) for result in results])
        rows += [
            _frames_row(by, str(name), results, names == name, scoring, table, counts) for name in np.unique(names)
        ]
    for size, (low, high) in area_ranges(scoring.eval.size_cutoffs).items():
        chosen = (table.truth_areas >= low) & (table.truth_areas <= high)
        rows.append(_lesions_row("size", size, results, chosen, table, counts))
    for class_id, name in enumerate(scoring.names):
        rows.append(_lesions_row("class", name, results, table.truth_class_ids == class_id, table, counts))
    return rows


def size_curve(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None) -> dict[str, Any]:
    """Return sensitivity as a smooth function of lesion size (square root of the area), with a pointwise 95 % band.

    A Nadaraya-Watson mean with a Gaussian kernel over the logarithm of the size; bandwidth by Silverman's rule, at
    least a tenth of a doubling. The band is that of resampled patients. Lists are empty below LEAST_LESIONS lesions.
    """
    table = frame_table(results, scoring)
    found = frame_counts(table, 0, threshold).found.astype(np.float64)
    sizes = np.log2(np.sqrt(np.maximum(table.truth_areas, 1e-6)))
    empty = {"size": [], "sensitivity": [], "low": [], "high": [], "bandwidth_octaves": None, "n_lesions": len(found)}
    if len(found) < LEAST_LESIONS or sizes.std() == 0:
        return empty
    bandwidth = max(1.06 * float(sizes.std()) * len(sizes) ** -0.2, 0.1)
    smallest, largest = np.quantile(sizes, [0.01, 0.99])
    grid = np.linspace(float(smallest), float(largest), CURVE_POINTS)
    kernel = np.exp(-0.5 * ((sizes[:, None] - grid) / bandwidth) ** 2)
    units, names = units_of(results)
    owner = np.eye(len(names))[units[table.truth_frames]]  # [G, U]
    numerator, denominator = owner.T @ (kernel * found[:, None]), owner.T @ kernel
    curve = numerator.sum(axis=0) / denominator.sum(axis=0)
    low = high = np.full(len(grid), np.nan)
    section = scoring.eval
    if section.resamples and len(names) > 1:
        weights = resample_weights(len(names), section.resamples, section.bootstrap_seed)
        resampled = ratio(weights @ numerator, weights @ denominator)
        low, high = np.nanquantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {
        "size": (2**grid).tolist(),
        "sensitivity": curve.tolist(),
        "low": [_defined(value) for value in low],
        "high": [_defined(value) for value in high],
        "bandwidth_octaves": bandwidth,
        "n_lesions": len(found),
    }


def calibration(results: Sequence[FrameResult], scoring: Scoring) -> dict[str, Any]:
    """Return, for bins of the score, the mean score and the share of hits, and the expected calibration error.

    Scores from CALIBRATED_FROM on count. ece: mean of |score - share of hits| over detections; None without any.
    """
    table = frame_table(results, scoring)
    kept = (table.scores >= CALIBRATED_FROM) & ~table.ignored[0]
    scores, hits = table.scores[kept], table.hits(0)[kept]
    places = np.minimum((scores * CALIBRATION_BINS + 1e-6).astype(np.int64), CALIBRATION_BINS - 1)  # 0.9 is float32
    bins = []
    for place in np.unique(places):
        own = places == place
        bins.append({"score": float(scores[own].mean()), "precision": float(hits[own].mean()), "n": int(own.sum())})
    gaps = sum(row["n"] * abs(row["score"] - row["precision"]) for row in bins)
    return {"from_score": CALIBRATED_FROM, "bins": bins, "ece": gaps / len(scores) if len(scores) else None}


def _frames_row(
    by: str,
    name: str,
    results: Sequence[FrameResult],
    chosen: Any,
    scoring: Scoring,
    table: MatchTable,
    counts: FrameCounts,
) -> dict[str, Any]:
    own = [result for result, taken in zip(results, chosen, strict=True) if taken]
    row = _lesions_row(by, name, results, chosen[table.truth_frames], table, counts)
    scored = average_precision(own, len(scoring.names), scoring.iou_thresh, scoring.eval.max_det)
    patients = {result.patient_id for result in own}
    return row | {
        "n_frames": len(own),
        "n_patients": len(patients),
        "ap50": scored.ap,
        "fp_per_frame": float(counts.fp[chosen].sum()) / len(own),
    }


def _lesions_row(
    by: str, name: str, results: Sequence[FrameResult], chosen: Any, table: MatchTable, counts: FrameCounts
) -> dict[str, Any]:
    frames: IntArray = np.unique(table.truth_frames[chosen])
    found = counts.found[chosen]
    return {
        "by": by,
        "name": name,
        "n_lesions": int(np.count_nonzero(chosen)),
        "n_frames": len(frames),
        "n_patients": len({results[frame].patient_id for frame in frames}),
        "sensitivity": float(found.mean()) if len(found) else None,
        "ap50": None,
        "fp_per_frame": None,
    }


def _defined(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
