"""Average precision in its three usual definitions, for any weighting of the patients.

Legend: R weightings (resamples); U units (patients); J hits of one class under one criterion, best score first.
A weighting says how often each unit's frames count: all ones is the data set itself, a bootstrap resample has counts
of draws. Between two hits precision only falls, so hits and the false alarms before each are all that AP needs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from data_utils.records import FloatArray, FrameResult, IntArray, size_bounds
from evaluation.scoring.matching import Criterion, MatchTable, SizeReference, match_frames

RECALL_POINTS = np.linspace(0.0, 1.0, 101)  # at which COCO's AP samples the precision
_LARGEST_ARRAY = 2**23  # numbers worked on at once: 64 MB


@dataclass(frozen=True, eq=False)
class RankedHits:
    """The hits of one class, or of all, under one criterion, best score first.

    scores: float64 [J]. units: int64 [J], whose each is. false_between: sparse [J + 1, U], false alarms of each unit
    that rank between the hit before and this one, and after the last. n_truth: float64 [U], true boxes that count.
    """

    scores: FloatArray
    units: IntArray
    false_between: csr_array
    n_truth: FloatArray

    def counts(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return, under weights [R, U], hits and false alarms up to each hit, [R, J] each, and true boxes [R]."""
        n_hits = np.cumsum(weights[:, self.units], axis=1)
        n_false = np.cumsum((self.false_between[:-1] @ weights.T).T, axis=1)
        return n_hits, n_false, weights @ self.n_truth


def rank_hits(
    table: MatchTable,
    criterion: int,
    class_id: int | None = None,
    frame_units: IntArray | None = None,
    ties_together: bool = False,
) -> RankedHits:
    """Gather the hits of `class_id` (None: of all classes) from the table.

    frame_units: int64 [S], the unit each frame belongs to, numbered from 0; None: all are one. ties_together: of equal
    scores the false alarms rank first, as if a threshold decided; else they keep their order, as COCO's AP has it.
    """
    units = np.zeros(table.n_frames, dtype=np.int64) if frame_units is None else frame_units
    n_units = int(units.max(initial=0)) + 1
    chosen = np.ones(len(table.scores), dtype=bool) if class_id is None else table.class_ids == class_id
    is_hit = table.hits(criterion)[chosen]
    is_false = table.false_alarms(criterion)[chosen]
    det_units = units[table.frames[chosen]]
    n_hits_before = np.cumsum(is_hit)
    n_hits = int(n_hits_before[-1]) if len(is_hit) else 0
    if ties_together:
        scores = table.scores[chosen]
        n_hits_before = np.searchsorted(-scores[is_hit], -scores, side="left")
    places = (n_hits_before[is_false], det_units[is_false])
    false = coo_array((np.ones(len(places[0])), places), shape=(n_hits + 1, n_units)).tocsr()
    own = table.counted[criterion] & (True if class_id is None else table.truth_class_ids == class_id)
    return RankedHits(
        scores=table.scores[chosen][is_hit],
        units=det_units[is_hit],
        false_between=false,
        n_truth=np.bincount(units[table.truth_frames[own]], minlength=n_units).astype(np.float64),
    )


def weighted_ap(hits: RankedHits, weights: FloatArray, definition: str = "coco") -> FloatArray:
    """Return AP [R] under weights [R, U], NaN where no true box has weight.

    definition: "coco" is the mean of the precision envelope at 101 recalls; "area" is the area under the envelope over
    all points, which is the paper's. Ultralytics' own is `interpolated_ap`.
    """
    measure = {"coco": _coco_ap, "area": _area_ap}[definition]
    rows = max(1, _LARGEST_ARRAY // max(1, len(hits.scores)))
    chunks = [_with_truth(hits, weights[start : start + rows], measure) for start in range(0, len(weights), rows)]
    return np.concatenate(chunks) if chunks else np.zeros(0)


def envelope(hits: RankedHits) -> tuple[FloatArray, FloatArray]:
    """Return recall [J] and the precision envelope [J] at each hit of the data set itself."""
    n_hits, n_false, n_truth = hits.counts(np.ones((1, len(hits.n_truth))))
    return n_hits[0] / n_truth[0], _envelope(n_hits, n_false)[0]


def sampled_envelope(hits: RankedHits) -> FloatArray | None:
    """Return the precision envelope [101] at `RECALL_POINTS`, 0 beyond the last recall; None without truth."""
    if not hits.n_truth.sum():
        return None
    recall, precision = envelope(hits)
    return np.append(precision, 0.0)[np.searchsorted(recall, RECALL_POINTS, side="left")]


def interpolated_ap(hits: RankedHits) -> float | None:
    """Return AP as ultralytics computes it: trapezes under the envelope, read by linear interpolation at 101 recalls.

    It lies above COCO's, because between two hits it draws a slope where COCO draws a step. None without truth.
    """
    n_hits, n_false, n_truth = hits.counts(np.ones((1, len(hits.n_truth))))
    if not n_truth[0]:
        return None
    n_hits, n_false = n_hits[0], n_false[0]
    recall, precision = n_hits / n_truth[0], n_hits / np.maximum(n_hits + n_false, 1)
    # After a hit, false alarms lower the precision at the same recall: the lowest point before the next hit.
    after = np.append(n_false[1:], hits.false_between.sum())
    lowest = n_hits / np.maximum(n_hits + after, 1)
    first_false = n_false[0] if len(n_false) else hits.false_between.sum()
    x = np.concatenate([[0.0], [0.0] if first_false else [], np.stack([recall, recall], 1).ravel()])
    y = np.concatenate([[1.0], [0.0] if first_false else [], np.stack([precision, lowest], 1).ravel()])
    last = recall[-1] if len(recall) else 0.0
    x, y = np.append(x, [last, 1.0]), np.append(y, [0.0, 0.0])
    y = np.maximum.accumulate(y[::-1])[::-1]
    return float(np.trapezoid(np.interp(RECALL_POINTS, x, y), RECALL_POINTS))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, giving NaN where the denominator is 0."""
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)


def _with_truth(hits: RankedHits, weights: FloatArray, measure: object) -> FloatArray:
    n_hits, n_false, n_truth = hits.counts(weights)
    values = np.full(len(weights), np.nan)
    defined = n_truth > 0
    if defined.any():
        recall = n_hits[defined] / n_truth[defined, None]
        values[defined] = measure(recall, _envelope(n_hits[defined], n_false[defined]))  # pyright: ignore
    return values


def _envelope(n_hits: FloatArray, n_false: FloatArray) -> FloatArray:
    """Return the highest precision [R, J] at this or any higher recall."""
    precision = n_hits / np.maximum(n_hits + n_false, 1)  # below 1 there is neither
    return np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]


def _coco_ap(recall: FloatArray, precision: FloatArray) -> FloatArray:
    padded = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)
    places = np.stack([np.searchsorted(row, RECALL_POINTS, side="left") for row in recall])
    return np.take_along_axis(padded, places, axis=1).mean(axis=1)


def _area_ap(recall: FloatArray, precision: FloatArray) -> FloatArray:
    return (np.diff(recall, axis=1, prepend=0.0) * precision).sum(axis=1)


# COCO's measures: AP and recall over IoU thresholds, classes and box sizes. The tests hold them to pycocotools.
#
# What is not defined is None, never NaN: AP of a class, or of a size bucket, without a single true box. With truth and
# no detections AP is 0.


AreaRanges = Mapping[str, tuple[float, float]]

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of mAP50-95
RECALL_AT = (1, 10, 100)  # best detections of a frame and class that COCO's average recalls count
SIZE_CUTOFFS = (32.0, 96.0)


def area_ranges(cutoffs: Sequence[float] = SIZE_CUTOFFS) -> dict[str, tuple[float, float]]:
    """Return {bucket: (smallest, largest area in square pixels)} between squares of the given sides.

    COCO's own ranges hold both ends, so that a 32x32 box would count as small and as medium. Here every box is in
    exactly one bucket, the same as in preparing (boxes.size_bounds). Two sides give small, medium and large; other
    numbers name their bounds ("16-32 px").
    """
    bounds = [0.0, *size_bounds(cutoffs), math.inf]
    if len(cutoffs) == 2:
        names = ["small", "medium", "large"]
    else:
        names = [f"below {cutoffs[0]:g} px", *(f"{a:g}-{b:g} px" for a, b in itertools.pairwise(cutoffs)),
                 f"from {cutoffs[-1]:g} px"]  # fmt: skip
    return {name: (bounds[i], math.nextafter(bounds[i + 1], 0)) for i, name in enumerate(names)}


AREA_RANGES: AreaRanges = area_ranges()


@dataclass(frozen=True, eq=False)
class AveragePrecision:
    """AP of a set of frames, each in [0, 1] or None where there is no truth; means are over the classes with truth.

    ap: COCO's, at `iou_thresh`; ap_area: area under the whole curve, the paper's; ap_ultralytics: with ultralytics'
    interpolation. map50_95: mean of COCO's over IoU 0.50, 0.55 ... 0.95. ap_by_size: `ap` in each area range; boxes
    and unmatched detections of another size are ignored, as COCO does. ap_by_class: `ap` of each class id, in order.
    recall_at: mean recall over the ten IoUs with the best 1, 10, 100 and all detections of a frame and class.
    n_boxes_by_size, n_boxes_by_class: true boxes. curve_by_class: float64 [101], envelope of the precision at
    `RECALL_POINTS`, or None.
    """

    iou_thresh: float
    size_reference: SizeReference
    ap: float | None
    ap_area: float | None
    ap_ultralytics: float | None
    map50_95: float | None
    ap_by_size: dict[str, float | None]
    ap_by_class: list[float | None]
    recall_at: dict[int, float | None]
    n_boxes_by_size: dict[str, int]
    n_boxes_by_class: list[int]
    curve_by_class: list[FloatArray | None]


def average_precision(
    results: Sequence[FrameResult],
    nc: int,
    iou_thresh: float = 0.5,
    max_det: int = 300,
    size_reference: SizeReference = "original",
    area_ranges: AreaRanges = AREA_RANGES,
) -> AveragePrecision:
    """Score detections against the truth of the same frames, as COCO does (101 recall points, `max_det` per frame).

    Boxes are in pixels of the original frame; `size_reference` says whether `area_ranges`, in square pixels, count
    there, in the detector's input or in the HR target. IoU does not depend on it, for they differ by a plain resize.
    Raises ValueError for a class id outside [0, nc).
    """
    check_class_ids(results, nc)
    criteria = [Criterion(iou_thresh), *(Criterion(iou_thresh, area) for area in area_ranges.values()),
                *(Criterion(float(iou)) for iou in IOU_THRESHOLDS)]  # fmt: skip
    table = match_frames(results, criteria, max_det, size_reference)
    coco = [[_ap(table, row, k) for k in range(nc)] for row in range(len(criteria))]
    first_iou = 1 + len(area_ranges)
    of_class = [rank_hits(table, 0, k) for k in range(nc)]
    return AveragePrecision(
        iou_thresh=iou_thresh,
        size_reference=size_reference,
        ap=mean_of_defined(coco[0]),
        ap_area=mean_of_defined([_ap(table, 0, k, "area") for k in range(nc)]),
        ap_ultralytics=mean_of_defined([interpolated_ap(hits) for hits in of_class]),
        map50_95=mean_of_defined([ap for row in coco[first_iou:] for ap in row]),
        ap_by_size={name: mean_of_defined(coco[1 + index]) for index, name in enumerate(area_ranges)},
        ap_by_class=coco[0],
        recall_at={
            count: _mean_recall(table, range(first_iou, len(criteria)), nc, count)
            for count in sorted({*RECALL_AT, max_det})
        },
        n_boxes_by_size={name: int(table.counted[1 + index].sum()) for index, name in enumerate(area_ranges)},
        n_boxes_by_class=np.bincount(table.truth_class_ids, minlength=nc).tolist(),
        curve_by_class=[sampled_envelope(hits) for hits in of_class],
    )


def check_class_ids(results: Sequence[FrameResult], nc: int) -> None:
    """Raise ValueError for a class id outside [0, nc)."""
    for result in results:
        for class_ids, what in ((result.truth_class_ids, "true"), (result.detections.class_ids, "detected")):
            if len(class_ids) and (class_ids.min() < 0 or class_ids.max() >= nc):
                raise ValueError(f"{result.stem}: {what} class ids {np.unique(class_ids).tolist()} with {nc} classes")


def mean_of_defined(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is not None; None where nothing is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _ap(table: MatchTable, criterion: int, class_id: int, definition: str = "coco") -> float | None:
    hits = rank_hits(table, criterion, class_id)
    value = float(weighted_ap(hits, np.ones((1, 1)), definition)[0])
    return None if math.isnan(value) else value


def _mean_recall(table: MatchTable, criteria: Sequence[int], nc: int, max_det: int) -> float | None:
    """Return the share of true boxes that the best `max_det` of each frame and class find, mean over all criteria."""
    recalls: list[float | None] = []
    for row in criteria:
        found = np.bincount(table.class_ids[table.hits(row) & (table.ranks < max_det)], minlength=nc)
        n_truth = np.bincount(table.truth_class_ids[table.counted[row]], minlength=nc)
        recalls += [found[k] / n_truth[k] if n_truth[k] else None for k in range(nc)]
    return mean_of_defined(recalls)
