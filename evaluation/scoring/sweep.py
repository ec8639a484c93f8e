"""The sweep over confidence and NMS IoU: chosen on validation frames, reported on others, from stored detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from data_utils.records import FrameResult
from evaluation.scoring.operating_points import at_threshold
from evaluation.statistics.headline import Scoring
from models.predictor import suppress


@dataclass(frozen=True)
class Setting:
    """One point of the sweep."""

    conf: float
    nms_iou: float


def sweep(results: Sequence[FrameResult], scoring: Scoring) -> list[dict[str, Any]]:
    """Return one row for each confidence x NMS IoU of scoring.eval: setting, precision, recall, F1 and counts.

    The stored detections have been through NMS once already, at scoring.eval.nms_iou; each IoU below that is applied to
    what was left. That is not always what NMS at that IoU alone would leave: a box that only a box now gone had
    suppressed stays away.
    """
    rows = []
    for nms_iou in scoring.eval.sweep_iou:
        thinned = thin_out(results, nms_iou)
        for conf in scoring.eval.sweep_conf:
            point = at_threshold(thinned, scoring.iou_thresh, conf, scoring.eval.max_det)
            counts = {"tp": point.tp, "fp": point.fp, "fn": point.fn}
            measures = {"precision": point.precision, "recall": point.recall, "f1": point.f1}
            rows.append({"conf": conf, "nms_iou": nms_iou, **measures, **counts})
    return rows


def best_setting(rows: Sequence[dict[str, Any]]) -> Setting | None:
    """Return the setting with the highest F1, the first among equals; None where no setting has a hit."""
    defined = [row for row in rows if row["f1"]]
    best = max(defined, key=lambda row: row["f1"], default=None)
    return None if best is None else Setting(best["conf"], best["nms_iou"])


def thin_out(results: Sequence[FrameResult], nms_iou: float) -> list[FrameResult]:
    """Return the frames with what class-aware NMS at `nms_iou` leaves of their detections."""
    return [replace(result, detections=suppress(result.detections, nms_iou)) for result in results]
