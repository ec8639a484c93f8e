"""The numbers a paper would quote, each as a function of patients' weights, so that all get intervals alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from data_utils.config.loading import make_section
from data_utils.config.sections import Config, EvalSection
from data_utils.records import FloatArray, FrameResult, IntArray
from evaluation.scoring.ap import (
    IOU_THRESHOLDS,
    RECALL_AT,
    RankedHits,
    area_ranges,
    check_class_ids,
    rank_hits,
    ratio,
    weighted_ap,
)
from evaluation.scoring.froc import FALSE_ALARM_RATES, HITS, rate_name, sensitivity_at
from evaluation.scoring.matching import Criterion, MatchTable, match_frames
from evaluation.scoring.operating_points import FrameCounts, frame_counts
from evaluation.statistics.bootstrap import Interval, Statistic, intervals, units_of


@dataclass(frozen=True)
class Scoring:
    """The settings that numbers depend on: class names, IoU of a hit, score floor, input side, section eval."""

    names: tuple[str, ...]
    iou_thresh: float
    conf_thresh: float
    imgsz: int
    eval: EvalSection

    @staticmethod
    def of(config: Config) -> Scoring:
        """Take them from a run's settings."""
        return Scoring(config.dataset.names, config.iou_thresh, config.conf_thresh, config.imgsz_lr, config.eval)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "names": list(self.names),
            "iou_thresh": self.iou_thresh,
            "conf_thresh": self.conf_thresh,
            "imgsz": self.imgsz,
            "eval": self.eval.model_dump(mode="json"),
        }

    def other_rule(self, other: Scoring) -> str | None:
        """Say which rule of keeping detections, or of counting hits and sizes, differs in `other`, or return None."""
        free = ("imgsz", "eval.resamples", "eval.bootstrap_seed", "eval.batch_size")
        mine, theirs = (_flat(scoring.as_dict()) for scoring in (self, other))
        differing = [key for key in mine if key not in free and mine[key] != theirs[key]]
        return f"{differing[0]} = {theirs[differing[0]]}, but {mine[differing[0]]} for the first" if differing else None

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Scoring:
        """Read back what `as_dict` gave; raises KeyError, TypeError or ValueError for anything else."""
        section = make_section(EvalSection, values["eval"], "eval")
        if not isinstance(values["names"], list):
            raise ValueError("names must be a list")
        iou_thresh, conf_thresh = (float(values[name]) for name in ("iou_thresh", "conf_thresh"))
        return Scoring(tuple(values["names"]), iou_thresh, conf_thresh, int(values["imgsz"]), section)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    return values | {f"eval.{key}": value for key, value in values.pop("eval").items()}


def headline_statistics(
    results: Sequence[FrameResult], scoring: Scoring, threshold: float | None, units: IntArray
) -> dict[str, Statistic]:
    """Return {name: statistic} over weights [R, U] of the units that `units` int64 [S] numbers.

    "ap50" and its kin are at scoring.iou_thresh; "ap50_area" is the area under the whole curve; "ar_<n>" is COCO's
    average recall with n detections. precision, recall, f1, patient_sensitivity, fp_per_frame, healthy_fp_per_frame
    and healthy_clean count detections above `threshold`. "froc_<rate>" is the sensitivity at that many false alarms a
    frame, with scoring.eval.froc_hit as a hit; "froc_mean" the mean of them.
    """
    nc, ranges = len(scoring.names), area_ranges(scoring.eval.size_cutoffs)
    check_class_ids(results, nc)
    criteria = [Criterion(scoring.iou_thresh), *(Criterion(scoring.iou_thresh, area) for area in ranges.values()),
                HITS[scoring.eval.froc_hit], *(Criterion(float(iou)) for iou in IOU_THRESHOLDS)]  # fmt: skip
    table = match_frames(results, criteria, scoring.eval.max_det, scoring.eval.size_reference)
    by_class = [[rank_hits(table, row, k, units) for k in range(nc)] for row in range(len(criteria))]
    sizes, first_iou = list(ranges), 2 + len(ranges)
    statistics: dict[str, Statistic] = {
        "ap50": partial(_mean_ap, by_class[0]),
        **{f"ap50_{size}": partial(_mean_ap, by_class[1 + index]) for index, size in enumerate(sizes)},
        "ap50_area": partial(_mean_ap, by_class[0], definition="area"),
        "map50_95": partial(_mean_ap, [hits for row in by_class[first_iou:] for hits in row]),
    }
    ious = range(first_iou, len(criteria))
    statistics |= {f"ar_{count}": _average_recall(table, ious, nc, count, units) for count in RECALL_AT}
    if nc > 1:
        statistics |= {f"ap50[{name}]": partial(weighted_ap, by_class[0][k]) for k, name in enumerate(scoring.names)}
    statistics |= threshold_statistics(results, frame_counts(table, 0, threshold), units)
    return statistics | _froc_statistics(rank_hits(table, 1 + len(ranges), None, units, ties_together=True), units)


def headline_intervals(
    results: Sequence[FrameResult], scoring: Scoring, threshold: float | None
) -> tuple[dict[str, Interval], int]:
    """Return {name: value with its intervals}, see `headline_statistics`, and the number of units drawn from."""
    units, names = units_of(results)
    statistics = headline_statistics(results, scoring, threshold, units)
    section = scoring.eval
    return intervals(statistics, len(names), section.resamples, section.bootstrap_seed), len(names)


def threshold_statistics(results: Sequence[FrameResult], counts: FrameCounts, units: IntArray) -> dict[str, Statistic]:
    """Return the statistics of one operating point: precision to healthy_clean of `headline_statistics`."""
    tp, fp, n_truth = (_by_unit(values, units) for values in (counts.tp, counts.fp, counts.n_truth))
    healthy = np.array([result.is_healthy for result in results], dtype=bool)
    frames, n_healthy = _by_unit(np.ones(len(units)), units), _by_unit(healthy, units)
    n_patients, n_found = patients_found(results, counts, units)
    return {
        "precision": _ratio_of(tp, tp + fp, empty=(n_truth, 0.0)),
        "recall": _ratio_of(tp, n_truth),
        "f1": _ratio_of(2 * tp, tp + fp + n_truth, needs=n_truth),
        "patient_sensitivity": _ratio_of(n_found, n_patients),
        "fp_per_frame": _ratio_of(fp, frames),
        "healthy_fp_per_frame": _ratio_of(_by_unit(counts.fp * healthy, units), n_healthy),
        "healthy_clean": _ratio_of(_by_unit(healthy & (counts.fp == 0), units), n_healthy),
    }


def patients_found(
    results: Sequence[FrameResult], counts: FrameCounts, units: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return float64 [U] each: patients with a lesion in each unit, and those of them with at least one lesion hit.

    A patient in several units counts once, in the first; a frame whose patient is not known, as one of its own.
    """
    found: dict[str, bool] = {}
    owner: dict[str, int] = {}
    for index, result in enumerate(results):
        if counts.n_truth[index]:
            unknown = result.patient_id == "unknown"
            patient = f"frame {result.stem}" if unknown else result.patient_id
            owner.setdefault(patient, int(units[index]))
            found[patient] = found.get(patient, False) or bool(counts.tp[index])
    owners = np.array(list(owner.values()), dtype=np.int64)
    n_units = int(units.max(initial=-1)) + 1
    return (
        np.bincount(owners, minlength=n_units).astype(np.float64),
        np.bincount(owners[np.array(list(found.values()), dtype=bool)], minlength=n_units).astype(np.float64),
    )


def _mean_ap(hits: Sequence[RankedHits], weights: FloatArray, definition: str = "coco") -> FloatArray:
    """Return the mean over those of `hits` that have truth under the weights; NaN where none has."""
    return _mean_of_defined(np.stack([weighted_ap(own, weights, definition) for own in hits], axis=1))


def _average_recall(table: MatchTable, rows: Iterable[int], nc: int, most: int, units: IntArray) -> Statistic:
    """Return the mean over criteria `rows` and classes of the share that the best `most` of a frame and class find."""
    found, truth = [], []
    for row in rows:
        hits = table.hits(row) & (table.ranks < most)
        for k in range(nc):
            own, true = hits & (table.class_ids == k), table.counted[row] & (table.truth_class_ids == k)
            found.append(_by_unit(_per_frame(table.frames[own], units), units))
            truth.append(_by_unit(_per_frame(table.truth_frames[true], units), units))

    n_found, n_true = np.array(found).T, np.array(truth).T
    return lambda weights: _mean_of_defined(ratio(weights @ n_found, weights @ n_true))


def _mean_of_defined(values: FloatArray) -> FloatArray:
    """Return the mean of each row of `values` [R, K] without its NaN; NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mean of nothing: NaN is what is wanted
        return np.nanmean(values, axis=1)


def _per_frame(frames: IntArray, units: IntArray) -> IntArray:
    return np.bincount(frames, minlength=len(units)).astype(np.int64)


def _froc_statistics(hits: RankedHits, units: IntArray) -> dict[str, Statistic]:
    frames = _by_unit(np.ones(len(units)), units)

    def at(rate: float) -> Statistic:
        return lambda weights: sensitivity_at(hits, weights, frames, (rate,))[:, 0]

    def mean(weights: FloatArray) -> FloatArray:
        return sensitivity_at(hits, weights, frames).mean(axis=1)

    return {f"froc_{rate_name(rate)}": at(rate) for rate in FALSE_ALARM_RATES} | {"froc_mean": mean}


def _ratio_of(
    numerator: FloatArray,
    denominator: FloatArray,
    needs: FloatArray | None = None,
    empty: tuple[FloatArray, float] | None = None,
) -> Callable[[FloatArray], FloatArray]:
    """Return weights -> (weights @ numerator) / (weights @ denominator); all [U].

    needs: NaN where the weights leave nothing of it. empty: (what must be left, the value) where the denominator is 0.
    """

    def statistic(weights: FloatArray) -> FloatArray:
        values = ratio(weights @ numerator, weights @ denominator)
        if needs is not None:
            values = np.where(weights @ needs > 0, values, np.nan)
        if empty is not None:
            left = weights @ empty[0] > 0
            values = np.where(left, np.where(np.isnan(values), empty[1], values), np.nan)
        return values

    return statistic


def _by_unit(values: Any, units: IntArray) -> FloatArray:
    totals = np.bincount(units, weights=np.asarray(values, dtype=np.float64), minlength=int(units.max(initial=-1)) + 1)
    return totals.astype(np.float64)


def frame_table(results: Sequence[FrameResult], scoring: Scoring) -> MatchTable:
    """Match `results` at scoring.iou_thresh alone."""
    criteria = [Criterion(scoring.iou_thresh)]
    return match_frames(results, criteria, scoring.eval.max_det, scoring.eval.size_reference)
