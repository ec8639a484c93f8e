"""The numbers of an evaluation, as plain values that go into JSON. What is not defined is None, never NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from data_utils.config.sections import Config
from data_utils.records import FrameResult
from evaluation.cost import measure_fps, measure_gflops, measure_speed, model_costs
from evaluation.image_quality import ReconstructionQuality
from evaluation.passes.predict import ASSUMED_SIZE, NON_FINITE, Sizes, predict
from evaluation.scoring.ap import RECALL_POINTS, AveragePrecision, area_ranges, average_precision
from evaluation.scoring.matching import SizeReference
from evaluation.scoring.operating_points import (
    OperatingPoint,
    Threshold,
    at_threshold,
    best_f1,
    confusion_matrix,
    healthy_frames,
)
from evaluation.statistics.headline import Scoring

__all__ = [
    "compute_ap50",
    "compute_ap50_by_size",
    "detection_metrics",
    "evaluate_full",
    "logged_metrics",
    "measure_fps",
    "measure_gflops",
    "measure_speed",
    "model_metrics",
]

Metrics = dict[str, Any]
# What a training log takes from `detection_metrics`: the measures, without the tables and the settings.
LOGGED = (
    *("ap50", "ap50_small", "ap50_medium", "ap50_large", "map50_95"),
    *("precision", "recall", "f1", "best_threshold", "tp", "fp", "fn", "n_healthy", "n_healthy_alarmed"),
)


def compute_ap50(results: Sequence[FrameResult], nc: int = 1) -> float | None:
    """Return AP at IoU 0.5, the mean over the classes that have truth; None without truth, 0 without detections."""
    return average_precision(results, nc).ap


def compute_ap50_by_size(
    results: Sequence[FrameResult], nc: int = 1, size_reference: SizeReference = "original"
) -> dict[str, float | None]:
    """Return AP at IoU 0.5 of small (< 32x32), medium (< 96x96) and large boxes, in pixels of `size_reference`."""
    return average_precision(results, nc, size_reference=size_reference).ap_by_size


def detection_metrics(results: Sequence[FrameResult], scoring: Scoring, threshold: Threshold | None = None) -> Metrics:
    """Summarise detections: AP, counts at a threshold, and what the numbers rest on.

    "ap50" and its kin are taken at `scoring.iou_thresh` (0.5 unless changed; named in the result). threshold: None
    chooses the one of best F1 on these very frames. "confusion" has a row for each class found and a column for each
    true one, the background last.
    """
    nc, section = len(scoring.names), scoring.eval
    ranges = area_ranges(section.size_cutoffs)
    scored = average_precision(
        results, nc, scoring.iou_thresh, section.max_det, section.size_reference, area_ranges=ranges
    )
    if threshold is None:
        point = best_f1(results, scoring.iou_thresh, section.max_det)
        threshold = Threshold(point.threshold, "best F1 on these very frames", own=True)
    else:
        point = at_threshold(results, scoring.iou_thresh, threshold.value, section.max_det)
    matrix = confusion_matrix(results, nc, scoring.iou_thresh, point.threshold)
    n_healthy, n_alarmed = healthy_frames(results, point.threshold)
    return {
        "ap50": scored.ap,
        **{f"ap50_{size}": value for size, value in scored.ap_by_size.items()},
        "ap50_area": scored.ap_area,
        "ap50_ultralytics": scored.ap_ultralytics,
        "map50_95": scored.map50_95,
        **{f"ar_{count}": value for count, value in scored.recall_at.items()},
        **_operating_point(point),
        "threshold_origin": threshold.origin,
        "threshold_is_own": threshold.own,
        "size_cutoffs": list(section.size_cutoffs),
        "n_frames": len(results),
        "n_boxes": sum(scored.n_boxes_by_class),
        **{f"n_{size}": count for size, count in scored.n_boxes_by_size.items()},
        "n_healthy": n_healthy,
        "n_healthy_alarmed": n_alarmed,
        "size_reference": section.size_reference,
        "iou_thresh": scoring.iou_thresh,
        "conf_thresh": scoring.conf_thresh,
        "nms_iou": section.nms_iou,
        "max_det": section.max_det,
        "imgsz": scoring.imgsz,
        "n_assumed_size": sum(ASSUMED_SIZE in result.extra for result in results),
        "n_non_finite": sum(NON_FINITE in result.extra for result in results),
        "per_class": _per_class(scored, matrix, scoring.names),
        "confusion": matrix.tolist(),
        "confusion_labels": [*scoring.names, "background"],
        "pr_curves": _curves(scored, scoring.names),
    }


def logged_metrics(
    results: Sequence[FrameResult], config: Config, quality: ReconstructionQuality | None, sizes: Sizes | None = None
) -> Metrics:
    """Score one pass for the log of a training: the measures `LOGGED`, "ap50[<class>]" with several classes.

    PSNR and SSIM are there too where `quality` has measured frames.
    """
    full = detection_metrics(results, Scoring.of(config))
    by_class = {f"ap50[{row['name']}]": row["ap50"] for row in full["per_class"]} if config.dataset.nc > 1 else {}
    return {**{name: full[name] for name in LOGGED}, **by_class, **reconstruction_metrics(quality, sizes)}


def evaluate_full(
    model: nn.Module,
    loader: Any,
    device: torch.device | str,
    config: Config | None = None,
    sizes: Sizes | None = None,
    *,
    precision: str = "fp32",
    n_warmup: int = 50,
    n_iters: int = 500,
    max_seconds: float | None = 20.0,
    progress: bool = False,
) -> Metrics:
    """Measure everything: detection, reconstruction (with a branch and HR frames), speed, cost and parameters.

    `config` defaults to that of the loader's data set. Speed is taken at batch 1 in fp32, the network alone, for at
    most `max_seconds`; "params" counts what runs at inference, "params_training" the SR branch too.
    """
    settings: Config = loader.dataset.config if config is None else config
    quality = ReconstructionQuality(settings.run.sr_metric_frames, _n_frames(loader))
    results = predict(model, loader, device, settings, sizes, precision=precision, quality=quality, progress=progress)
    measured = model_metrics(model, settings.imgsz_lr, n_warmup, n_iters, max_seconds)
    return {
        **detection_metrics(results, Scoring.of(settings)),
        **reconstruction_metrics(quality, sizes),
        **measured,
    }


def model_metrics(
    model: nn.Module, imgsz: int, n_warmup: int = 50, n_iters: int = 500, max_seconds: float | None = 20.0
) -> Metrics:
    """Measure speed, cost and parameters; see `evaluate_full` for those at batch 1, `model_costs` for the others."""
    speed = measure_speed(model, imgsz, n_warmup, n_iters, max_seconds)
    n_params, n_branch = _n_params(model), _n_params(getattr(model, "sr_branch", None))
    return {
        "fps": speed.fps,
        "fps_median_ms": speed.median_ms,
        "fps_p5_ms": speed.p5_ms,
        "fps_p95_ms": speed.p95_ms,
        "fps_n_iters": speed.n_iters,
        "fps_threads": speed.threads,
        "fps_device": speed.device,
        "gflops": measure_gflops(model, imgsz),
        "params": n_params - n_branch,
        "params_training": n_params,
        **model_costs(model, imgsz, n_warmup, n_iters, max_seconds),
    }


def _operating_point(point: OperatingPoint) -> Metrics:
    return {
        "precision": point.precision,
        "recall": point.recall,
        "f1": point.f1,
        "best_threshold": point.threshold,
        "tp": point.tp,
        "fp": point.fp,
        "fn": point.fn,
    }


def _per_class(scored: AveragePrecision, matrix: Any, names: Sequence[str]) -> list[Metrics]:
    """List AP and, at the shared best-F1 threshold, the counts of each class; undefined without truth of the class."""
    rows = []
    for k, name in enumerate(names):
        tp, n_found, n_true = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
        defined = n_true > 0
        rows.append(
            {
                "name": name,
                "n_boxes": n_true,
                "ap50": scored.ap_by_class[k],
                "precision": tp / max(n_found, 1) if defined else None,
                "recall": tp / n_true if defined else None,
                "f1": 2 * tp / (n_found + n_true) if defined else None,
                "tp": tp,
                "fp": n_found - tp,
                "fn": n_true - tp,
            }
        )
    return rows


def _curves(scored: AveragePrecision, names: Sequence[str]) -> dict[str, Any]:
    """Precision at COCO's 101 recall points, for each class with truth: what evaluation/plots.py draws."""
    curves = zip(names, scored.curve_by_class, strict=True)
    return {
        "recall": np.round(RECALL_POINTS, 2).tolist(),
        "precision": {name: np.round(curve, 6).tolist() for name, curve in curves if curve is not None},
    }


def reconstruction_metrics(quality: ReconstructionQuality | None, sizes: Sizes | None) -> Mapping[str, Any]:
    """Return mean PSNR and SSIM of the SR output and of bicubic upsampling; nothing where no frame was measured."""
    if quality is None or not quality.stems:
        return {}
    rows = [sizes[stem] for stem in quality.stems if sizes and stem in sizes]
    native = sum(row.hr_kind == "native" for row in rows)
    counts = {"n_sr_frames": len(quality.stems), "n_sr_total": quality.n_total, "sr_every": quality.every}
    return {**quality.means(), **counts, "n_sr_native": native if rows else None}


def _n_params(module: nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())


def _n_frames(loader: Any) -> int:
    dataset = getattr(loader, "dataset", None)
    return len(dataset) if dataset is not None else sum(len(batch["img_path"]) for batch in loader)
