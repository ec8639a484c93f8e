"""Whether two backends find the same in the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_utils.boxes import iou_xyxy
from data_utils.types import Detections
from evaluation.match_table import greedy_match

SAME_OBJECT = 0.5  # least IoU of two detections of one object


@dataclass(frozen=True)
class Agreement:
    """Detections of two backends compared.

    matched: pairs of one class with IoU >= 0.5. unmatched: those of either side without a partner, but for those whose
    score is so near the threshold that rounding alone may decide. box_px: largest difference of a corner, in frame
    pixels; score: largest difference of scores. n_reference, n_found: detections of either side.
    """

    n_frames: int
    n_reference: int
    n_found: int
    matched: int
    unmatched: int
    box_px: float
    score: float

    @property
    def share(self) -> float:
        """Matched detections over all of either side, in [0, 1]; 1 where neither found anything."""
        total = self.n_reference + self.n_found
        return 2 * self.matched / total if total else 1.0

    def holds(self, box_px: float, score: float) -> bool:
        """Tell whether both found the same: no detection alone, corners and scores within the limits."""
        return self.unmatched == 0 and self.box_px <= box_px and self.score <= score

    def __str__(self) -> str:
        counts = f"{self.matched} of {self.n_reference} detections in {self.n_frames} frames found again"
        return f"{counts}, {self.unmatched} alone, corners within {self.box_px:.3f} px, scores within {self.score:.1e}"


def compare(
    reference: Sequence[Detections], found: Sequence[Detections], conf: float, near: float = 1e-3
) -> Agreement:
    """Compare detections with scores above `conf`, frame by frame; near: what scores may differ by from `conf`."""
    matched = unmatched = 0
    box_px = score = 0.0
    for ours, theirs in zip(reference, found, strict=True):
        iou = iou_xyxy(ours.boxes_xyxy, theirs.boxes_xyxy)
        same_class = ours.class_ids[:, None] == theirs.class_ids[None, :]
        partner = greedy_match(np.where(same_class, iou, 0.0), SAME_OBJECT)
        pairs, taken = np.flatnonzero(partner >= 0), partner[partner >= 0]
        if len(pairs):
            box_px = max(box_px, float(np.abs(ours.boxes_xyxy[pairs] - theirs.boxes_xyxy[taken]).max()))
            score = max(score, float(np.abs(ours.scores[pairs] - theirs.scores[taken]).max()))
        alone = [ours.scores[partner < 0], np.delete(theirs.scores, taken)]
        unmatched += int((np.concatenate(alone) > conf + near).sum())
        matched += len(pairs)
    n_reference, n_found = (sum(map(len, side)) for side in (reference, found))
    return Agreement(len(reference), n_reference, n_found, matched, unmatched, box_px, score)
