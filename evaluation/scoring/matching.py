"""Which detection found which true box, worked out once for all frames: everything that is counted is counted from it.

Legend: D detections and G true boxes of all frames; C criteria; S frames.
A detection takes the still free true box of its class that it overlaps most, detections being served best score first
(COCO's rule), so that leaving low scores out never changes what those above them took.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_utils.records import FloatArray, FrameResult, IntArray, area_xyxy, intersection_xyxy, iou_xyxy

SizeReference = Literal["original", "input", "hr"]
BoolArray = NDArray[np.bool_]

_TINY = 1e-12  # overlap of a box whose centre lies inside another that it hardly overlaps
_IN_CROWD = -2  # partner of a detection that lies in a crowd, until the table is made
_PREFERRED = 2.0  # lifts counted true boxes above ignored ones, whatever their overlap


@dataclass(frozen=True)
class Criterion:
    """When a detection is a hit, and which true boxes count.

    overlap "iou": IoU of at least `threshold`; "centre": the detection's centre inside the true box. area: smallest
    and largest area, in square pixels of the size reference, of the boxes that count. As COCO does, true boxes of
    another size are ignored, with the detections that take them, and so are unmatched detections of another size.
    """

    threshold: float = 0.5
    area: tuple[float, float] = (0.0, float("inf"))
    overlap: Literal["iou", "centre"] = "iou"


@dataclass(frozen=True, eq=False)
class MatchTable:
    """All detections, best score first (equal scores in frame order), and what each took under each criterion.

    scores: float64 [D]. class_ids, frames: int64 [D]. ranks: int64 [D], place within its frame and class, from 0.
    partners: int64 [C, D], number of the true box taken, or -1. ignored: bool [C, D], neither hit nor false alarm: by
    its size, or because it lies in a crowd.
    truth_class_ids, truth_frames: int64 [G]. truth_areas: float64 [G], square pixels of the size reference.
    counted: bool [C, G], whether the true box counts under the criterion. n_frames: S.
    """

    criteria: tuple[Criterion, ...]
    scores: FloatArray
    class_ids: IntArray
    frames: IntArray
    ranks: IntArray
    partners: IntArray
    ignored: BoolArray
    truth_class_ids: IntArray
    truth_frames: IntArray
    truth_areas: FloatArray
    counted: BoolArray
    n_frames: int

    def hits(self, criterion: int) -> BoolArray:
        """Return bool [D]: whether each detection took a true box that counts."""
        return (self.partners[criterion] >= 0) & ~self.ignored[criterion]

    def false_alarms(self, criterion: int) -> BoolArray:
        """Return bool [D]: whether each detection is neither a hit nor ignored."""
        return (self.partners[criterion] < 0) & ~self.ignored[criterion]


def match_frames(
    results: Sequence[FrameResult],
    criteria: Sequence[Criterion],
    max_det: int = 300,
    size_reference: SizeReference = "original",
) -> MatchTable:
    """Match the detections of each frame, the best `max_det` of each class, with its true boxes."""
    found, truth = _detected_boxes(results, max_det, size_reference), _true_boxes(results, size_reference)
    crowds = _crowd_boxes(results)
    low, high = np.array([criterion.area for criterion in criteria]).reshape(-1, 2).T[:, :, None]
    counted = (truth.areas >= low) & (truth.areas <= high)
    partners = np.full((len(criteria), len(found.frames)), -1, dtype=np.int64)
    edges = np.arange(len(results) + 1)
    found_edges, truth_edges = np.searchsorted(found.frames, edges), np.searchsorted(truth.frames, edges)
    for frame in np.intersect1d(found.frames, np.union1d(truth.frames, crowds.frames)):
        own = slice(found_edges[frame], found_edges[frame + 1])
        its = slice(truth_edges[frame], truth_edges[frame + 1])
        regions = np.flatnonzero(crowds.frames == frame)
        class_ids = np.concatenate([truth.class_ids[its], crowds.class_ids[regions]])
        same_class = found.class_ids[own, None] == class_ids
        n_truth = its.stop - its.start
        for rows, least, overlap in _overlaps(found.boxes[own], truth.boxes[its], crowds.boxes[regions], criteria):
            counts = np.concatenate([counted[rows, its], np.zeros((len(least), len(regions)), dtype=bool)], axis=1)
            taken = greedy_partners(np.where(same_class, overlap, 0.0), least, counts, n_reusable=len(regions))
            partners[rows, own] = np.where(taken >= n_truth, _IN_CROWD, np.where(taken >= 0, taken + its.start, -1))
    order = np.argsort(-found.scores, kind="stable")
    outside = (partners < 0) & ((found.areas < low) | (found.areas > high)) | (partners == _IN_CROWD)
    took_ignored = (partners >= 0) & ~np.take_along_axis(counted, np.maximum(partners, 0), 1) if counted.size else False
    return MatchTable(
        criteria=tuple(criteria),
        scores=found.scores[order],
        class_ids=found.class_ids[order],
        frames=found.frames[order],
        ranks=found.ranks[order],
        partners=np.maximum(partners[:, order], -1),
        ignored=(outside | took_ignored)[:, order],
        truth_class_ids=truth.class_ids,
        truth_frames=truth.frames,
        truth_areas=truth.areas,
        counted=counted,
        n_frames=len(results),
    )


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes of all frames, in frame order: boxes float64 [N, 4] in original pixels, areas in those of the reference."""

    boxes: FloatArray
    class_ids: IntArray
    frames: IntArray
    areas: FloatArray
    scores: FloatArray
    ranks: IntArray


def _true_boxes(results: Sequence[FrameResult], size_reference: SizeReference) -> _Boxes:
    boxes = _joined([result.truth_xyxy for result in results], np.float64).reshape(-1, 4)
    class_ids = _joined([result.truth_class_ids for result in results], np.int64)
    frames = np.repeat(np.arange(len(results)), [len(result.truth_class_ids) for result in results]).astype(np.int64)
    areas = _areas(boxes, frames, results, size_reference)
    return _Boxes(boxes, class_ids, frames, areas, np.zeros(0), np.zeros(0, dtype=np.int64))


def _crowd_boxes(results: Sequence[FrameResult]) -> _Boxes:
    boxes = _joined([result.crowd_xyxy for result in results], np.float64).reshape(-1, 4)
    class_ids = _joined([result.crowd_class_ids for result in results], np.int64)
    frames = np.repeat(np.arange(len(results)), [len(result.crowd_class_ids) for result in results]).astype(np.int64)
    return _Boxes(boxes, class_ids, frames, np.zeros(len(boxes)), np.zeros(0), np.zeros(0, dtype=np.int64))


def _detected_boxes(results: Sequence[FrameResult], max_det: int, size_reference: SizeReference) -> _Boxes:
    boxes = _joined([result.detections.boxes_xyxy for result in results], np.float64).reshape(-1, 4)
    class_ids = _joined([result.detections.class_ids for result in results], np.int64)
    scores = _joined([result.detections.scores for result in results], np.float64)
    frames = np.repeat(np.arange(len(results)), [len(result.detections) for result in results]).astype(np.int64)
    ranks = _ranks(frames, class_ids)
    areas = _areas(boxes, frames, results, size_reference)
    kept = ranks < max_det
    return _Boxes(boxes[kept], class_ids[kept], frames[kept], areas[kept], scores[kept], ranks[kept])


def _areas(
    boxes: FloatArray, frames: IntArray, results: Sequence[FrameResult], size_reference: SizeReference
) -> FloatArray:
    original = np.array([result.original_size for result in results], dtype=np.float64).reshape(-1, 2)
    reference = np.array([result.size_in(size_reference) for result in results], dtype=np.float64).reshape(-1, 2)
    return area_xyxy(boxes * np.tile(reference / original, 2)[frames])


def greedy_partners(
    overlap: FloatArray, thresholds: FloatArray, counted: BoolArray, n_reusable: int = 0
) -> IntArray:
    """Serve detections in order, under C criteria at once; returns int64 [C, D], the true box each takes, or -1.

    overlap: float64 [D, G]; thresholds: float64 [C], least overlap of a hit; counted: bool [C, G], true boxes that are
    taken in preference to the others. The last `n_reusable` boxes are never used up. Of equal overlaps the last box is
    taken, as pycocotools does.
    """
    n_truth = overlap.shape[1]
    partners = np.full((len(thresholds), len(overlap)), -1, dtype=np.int64)
    if overlap.size == 0:
        return partners
    free = np.ones((len(thresholds), n_truth), dtype=bool)
    preference = np.where(counted, _PREFERRED, 0.0)
    all_criteria = np.arange(len(thresholds))
    for row in np.flatnonzero((overlap >= thresholds.min()).any(axis=1)):
        allowed = free & (overlap[row] >= thresholds[:, None])
        value = np.where(allowed, overlap[row] + preference, -1.0)
        best = n_truth - 1 - value[:, ::-1].argmax(axis=1)
        took = np.flatnonzero(allowed[all_criteria, best])
        partners[took, row] = best[took]
        used = took[best[took] < n_truth - n_reusable]
        free[used, best[used]] = False
    return partners


def greedy_match(iou: FloatArray, iou_thresh: float) -> IntArray:
    """Return for each row of `iou` [D, G], rows best score first, the column it takes, or -1; int64 [D]."""
    # As in COCO, an IoU threshold of 1 still accepts a box equal to rounding error.
    least = np.array([min(iou_thresh, 1 - 1e-10)])
    return greedy_partners(iou, least, np.ones((1, iou.shape[1]), dtype=bool))[0]


def _overlaps(
    boxes: FloatArray, truth: FloatArray, crowds: FloatArray, criteria: Sequence[Criterion]
) -> Iterator[tuple[slice, FloatArray, FloatArray]]:
    """Yield, for each run of criteria of one kind, its rows, their least overlaps and the overlaps [D, G + crowds].

    With a crowd a detection overlaps by the share of its own area that lies inside, as COCO has it.
    """
    inner = intersection_xyxy(boxes, crowds) / np.maximum(area_xyxy(boxes), _TINY)[:, None]
    iou, start = np.concatenate([iou_xyxy(boxes, truth), inner], axis=1), 0
    truth = np.concatenate([truth, crowds])
    for kind, run in itertools.groupby(criteria, key=lambda criterion: criterion.overlap):
        # As in COCO, an IoU threshold of 1 still accepts a box equal to rounding error.
        least = np.array([min(criterion.threshold, 1 - 1e-10) for criterion in run])
        rows = slice(start, start + len(least))
        start = rows.stop
        if kind == "iou":
            yield rows, least, iou
        else:
            centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
            inside = ((centres >= truth[:, :2]) & (centres < truth[:, 2:])).all(axis=2)
            yield rows, np.full(len(least), _TINY), np.where(inside, np.maximum(iou, _TINY), 0.0)


def _ranks(frames: IntArray, class_ids: IntArray) -> IntArray:
    """Return int64 [D]: how many entries of the same frame and class stand before each."""
    order = np.lexsort((class_ids, frames))
    starts = np.flatnonzero(np.diff(frames[order], prepend=-1) | np.diff(class_ids[order], prepend=-1))
    ranks = np.empty(len(frames), dtype=np.int64)
    ranks[order] = np.arange(len(frames)) - np.repeat(starts, np.diff(starts, append=len(frames)))
    return ranks


def _joined(parts: Sequence[NDArray], dtype: type) -> NDArray:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(part, dtype).ravel() for part in parts)])
