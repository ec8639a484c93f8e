"""FROC: sensitivity over false alarms a frame, under three meanings of a hit.

Legend: R weightings of the patients; U patients; J hits, best score first (see evaluation/scoring/ap.py).
One detection hits one lesion: a second detection of a lesion already hit counts as a false alarm, also where its
centre lies inside. All frames count, healthy ones too.
"""

from __future__ import annotations

import numpy as np

from data_utils.records import FloatArray
from evaluation.scoring.ap import RankedHits, ratio
from evaluation.scoring.matching import Criterion

HITS = {
    "iou50": Criterion(0.5),
    "iou30": Criterion(0.3),
    "centre": Criterion(overlap="centre"),
}
HIT_NAMES = {"iou50": "IoU >= 0.5", "iou30": "IoU >= 0.3", "centre": "centre inside the lesion"}
FALSE_ALARM_RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # false alarms a frame


def rate_name(rate: float) -> str:
    """Return "1/8", "1/4", "1/2", "1", "2"..."""
    return f"1/{round(1 / rate)}" if rate < 1 else f"{rate:g}"


def sensitivity_at(
    hits: RankedHits, weights: FloatArray, n_frames: FloatArray, rates: tuple[float, ...] = FALSE_ALARM_RATES
) -> FloatArray:
    """Return sensitivity [R, len(rates)]: the highest with at most `rate` false alarms a frame; NaN without lesions.

    weights: float64 [R, U]; n_frames: float64 [U], frames of each patient.
    """
    n_hits, n_false, n_truth = hits.counts(weights)
    allowed = (weights @ n_frames)[:, None] * np.array(rates) * (1 + 1e-9)  # rounding must not cost a hit
    places = np.stack([np.searchsorted(row, most, side="right") for row, most in zip(n_false, allowed, strict=True)])
    n_found = np.take_along_axis(np.concatenate([np.zeros((len(n_hits), 1)), n_hits], axis=1), places, axis=1)
    return ratio(n_found, n_truth[:, None])


def froc_curve(hits: RankedHits, n_frames: int) -> dict[str, list[float]]:
    """Return the curve's corners: false alarms a frame, sensitivity and score threshold at each hit; empty if none."""
    n_hits, n_false, n_truth = (values[0] for values in hits.counts(np.ones((1, len(hits.n_truth)))))
    if not n_truth or not n_frames:
        return {"false_alarms_per_frame": [], "sensitivity": [], "threshold": []}
    return {
        "false_alarms_per_frame": (n_false / n_frames).tolist(),
        "sensitivity": (n_hits / n_truth).tolist(),
        "threshold": hits.scores.tolist(),
    }
