"""Metrics as an aligned table for the terminal and as CSV; evaluate.py and the trainer's closing words share it.

As a command, `python -m evaluation.report ablations`, it rewrites the paper's tables and figures from saved results.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_utils.manifest import FEW_UNITS, few_units

NOT_DEFINED = "n/a"


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align text cells under their headers: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [headers, *rows]) for column in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, rows)])


def format_value(value: float | int | None, digits: int = 3) -> str:
    """Write a number with thousands separators and, if it is a fraction, `digits` decimals; None and NaN are "n/a"."""
    if value is None or not math.isfinite(value):
        return NOT_DEFINED
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def format_interval(interval: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Write a BCa interval as "[low, high]"; nothing where there is none."""
    if interval is None or interval["bca_low"] is None:
        return ""
    return f"[{interval['bca_low']:.{digits}f}, {interval['bca_high']:.{digits}f}]"


def metric_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (key, label, value as text) of the measures that `metrics` holds, in reading order.

    `metrics` is what evaluate_full or logged_metrics returned; what it lacks is left out.
    """
    from evaluation.scoring.ap import RECALL_AT

    rows: list[tuple[str, str, str]] = []

    def add(key: str, label: str, digits: int = 3, suffix: str = "") -> None:
        if key in metrics:
            rows.append((key, label, format_value(metrics[key], digits) + suffix))

    ap = _ap_name(metrics)
    add("ap50", ap)
    for size, bound in _size_bounds(metrics).items():
        add(f"ap50_{size}", f"{ap} {size} ({bound}n={format_value(metrics.get(f'n_{size}'))})")
    add("ap50_area", f"{ap}, area under all points")
    add("ap50_ultralytics", f"{ap}, ultralytics' interpolation")
    add("map50_95", "mAP50-95")
    for count in RECALL_AT:
        add(f"ar_{count}", f"AR50-95, best {count} a frame")
    at = _at_threshold(metrics)
    for key in ("precision", "recall", "f1"):
        add(key, f"{key.capitalize()} {at}")
    _clinical_rows(metrics, rows, at)
    _reconstruction_rows(metrics, add)
    if "fps" in metrics:
        threads = f", {metrics['fps_threads']} threads" if metrics["fps_device"] == "cpu" else ""
        add("fps", f"FPS (batch 1, {metrics['fps_device']}{threads})", digits=1)
        add("fps_batched", f"FPS (batch {metrics.get('fps_batched_size')})", digits=1)
    add("preprocess_ms", "Pre-processing of a frame", 2, " ms")
    add("postprocess_ms", "Post-processing of a frame", 2, " ms")
    add("gflops", f"GFLOPs (at {metrics.get('imgsz')})", digits=2)
    add("params", "Parameters at inference")
    if metrics.get("params_training") != metrics.get("params"):
        add("gflops_training", "GFLOPs of a forward pass in training", digits=2)
        add("params_training", "Parameters in training")
    return rows


def format_report(
    metrics: Mapping[str, Any], title: str, paper: Mapping[str, float] | None = None, notes: Sequence[str] = ()
) -> str:
    """Lay out one evaluation: measures (beside the paper's, if any), classes, confusion counts, notes."""
    rows = metric_rows(metrics)
    headers, cells = ["", "value"], [[label, value] for _, label, value in rows]
    if metrics.get("n_resamples") and "intervals" in metrics:
        headers.append("95 % interval")
        for (key, _, _), row in zip(rows, cells, strict=True):
            row.append(format_interval(metrics["intervals"].get(key)))
    if paper:
        from evaluation.paper.published import PAPER_COLUMN

        headers.append(PAPER_COLUMN)
        for (key, _, _), row in zip(rows, cells, strict=True):
            row.append(format_value(paper[key], 2) if key in paper else "")
    parts = [title, format_table(headers, cells)]
    if len(metrics["per_class"]) > 1:
        parts.append(_class_table(metrics))
    parts.append(_confusion_table(metrics))
    parts.append("\n".join(f"- {note}" for note in [*_standing_notes(metrics), *notes]))
    return "\n\n".join(parts)


def csv_rows(metrics: Mapping[str, Any], paper: Mapping[str, float]) -> list[dict[str, object]]:
    """Return one {"metric", "class", "value", "low", "high", "paper"} for each single value; undefined ones are empty.

    low, high: the ends of its 95 % interval, where there is one.
    """
    intervals = metrics.get("intervals", {})
    single = {key: value for key, value in metrics.items() if value is None or isinstance(value, (int, float, str))}
    values = single | {key: interval["value"] for key, interval in intervals.items() if key not in single}
    ends = {key: {"low": i["bca_low"], "high": i["bca_high"]} for key, i in intervals.items()}
    rows: list[dict[str, object]] = [
        {"metric": key, "class": "all", "value": value, "paper": paper.get(key), **ends.get(key, {})}
        for key, value in values.items()
    ]
    for per_class in metrics["per_class"]:
        values = {key: value for key, value in per_class.items() if key != "name"}
        rows += [{"metric": k, "class": per_class["name"], "value": v, "paper": None} for k, v in values.items()]
    return rows


def _ap_name(metrics: Mapping[str, Any]) -> str:
    iou_thresh = metrics.get("iou_thresh", 0.5)
    return "AP50" if iou_thresh == 0.5 else f"AP@{iou_thresh:g}"


def _size_bounds(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return {bucket: its bound in words}; a bucket whose name says it has none."""
    from evaluation.scoring.ap import SIZE_CUTOFFS, area_ranges

    cutoffs = metrics.get("size_cutoffs", SIZE_CUTOFFS)
    names = list(area_ranges(cutoffs))
    if len(cutoffs) != 2:
        return dict.fromkeys(names, "")
    low, high = (f"{side:g}x{side:g}" for side in cutoffs)
    return dict(zip(names, (f"< {low}, ", f"< {high}, ", f">= {high}, "), strict=True))


def _clinical_rows(metrics: Mapping[str, Any], rows: list[tuple[str, str, str]], at: str) -> None:
    """Add what only a stored pass gives: patients, false alarms, FROC."""
    from evaluation.scoring.froc import FALSE_ALARM_RATES, rate_name

    intervals = metrics.get("intervals", {})
    labels = {
        "patient_sensitivity": f"Patients found {at}",
        "fp_per_frame": f"False alarms a frame {at}",
        "healthy_fp_per_frame": f"False alarms a healthy frame {at}",
        "healthy_clean": f"Healthy frames without any {at}",
        **{f"froc_{name}": f"Sensitivity at {name} false alarms a frame" for name in map(rate_name, FALSE_ALARM_RATES)},
        "froc_mean": "Sensitivity, mean of these",
    }
    if metrics.get("unit") not in ("patient", "sequence"):
        del labels["patient_sensitivity"]  # each frame stands for a patient of its own
    for key, label in labels.items():
        if key in intervals and intervals[key]["value"] is not None:
            rows.append((key, label, format_value(intervals[key]["value"])))


def _at_threshold(metrics: Mapping[str, Any]) -> str:
    threshold = metrics.get("best_threshold")
    return f"@ {NOT_DEFINED if threshold is None else format(threshold, '.3g')}"


def _reconstruction_rows(metrics: Mapping[str, Any], add: Callable[..., None]) -> None:
    for measure, digits, unit in (("psnr", 2, " dB"), ("ssim", 4, "")):
        add(measure, f"{measure.upper()} of SR output (n={metrics.get('n_sr_frames')})", digits, unit)
        add(f"{measure}_bicubic", f"{measure.upper()} of bicubic upsampling", digits, unit)


def _class_table(metrics: Mapping[str, Any]) -> str:
    columns = ("ap50", "precision", "recall", "f1", "n_boxes", "tp", "fp", "fn")
    headers = ["class", _ap_name(metrics), "precision", "recall", "F1", "boxes", "TP", "FP", "FN"]
    rows = [[row["name"], *(format_value(row[column]) for column in columns)] for row in metrics["per_class"]]
    return format_table(headers, rows)


def _confusion_table(metrics: Mapping[str, Any]) -> str:
    labels = metrics["confusion_labels"]
    rows = [
        [f"found {label}" if label != "background" else "missed", *(format_value(count) for count in counts)]
        for label, counts in zip(labels, metrics["confusion"], strict=True)
    ]
    rows[-1][-1] = ""  # background found as background is not counted
    return format_table([_at_threshold(metrics), *(f"true {label}" for label in labels)], rows)


def _standing_notes(metrics: Mapping[str, Any]) -> list[str]:
    side = metrics["imgsz"]
    references = {"original": "original frame's", "input": f"{side} px input's", "hr": f"{2 * side} px HR target's"}
    pixels = references[metrics["size_reference"]]
    notes = [
        f"{metrics['n_frames']} frames, {metrics['n_boxes']} boxes. Frames without a box: {metrics['n_healthy']}, of "
        f"these with a detection at the threshold: {metrics['n_healthy_alarmed']}.",
        f"Sizes are counted in the {pixels} pixels (eval.size_reference = {metrics['size_reference']}).",
        f"A hit has IoU >= {metrics['iou_thresh']:g}; scores > {metrics['conf_thresh']:g}, NMS at IoU "
        f"{metrics['nms_iou']:g}, at most {metrics['max_det']} boxes a frame.",
    ]
    if metrics.get("threshold_is_own") and metrics["best_threshold"] is not None:
        notes.append("The threshold is the one with the best F1 on these same frames, so P, R and F1 are optimistic.")
    elif "threshold_origin" in metrics:
        notes.append(f"The threshold comes from: {metrics['threshold_origin']}.")
    notes += _interval_notes(metrics)
    if metrics["n_assumed_size"]:
        notes.append(
            f"{metrics['n_assumed_size']} frames are not in the manifest: original size taken to be the HR side."
        )
    if metrics["n_non_finite"]:
        notes.append(f"{metrics['n_non_finite']} frames gave NaN or infinite outputs, which were left out.")
    if frames := which_frames(metrics):
        notes.append(f"PSNR and SSIM are of {frames}.")
    if metrics.get("n_sr_native") is not None:
        notes.append(
            f"{metrics['n_sr_native']} of the {metrics['n_sr_frames']} HR targets are native, the rest upsampled."
        )
    return notes + _speed_notes(metrics)


def which_frames(metrics: Mapping[str, Any]) -> str:
    """Say on which frames PSNR and SSIM were taken, and why on so many; "" where that is not recorded."""
    count, total, every = (metrics.get(name) for name in ("n_sr_frames", "n_sr_total", "sr_every"))
    if not count or not total:
        return ""
    if every == 1 or count >= total:
        return f"all {total} frames"
    return (f"{count} of the {total} frames, one of every {every} in the list's order, since neighbours look alike and "
            "each costs a pass of the branch; run.sr_metric_frames sets how many")  # fmt: skip


def _speed_notes(metrics: Mapping[str, Any]) -> list[str]:
    if "fps" not in metrics:
        return []
    notes = [
        f"FPS is 1000 / median of {metrics['fps_n_iters']} passes of the network alone, "
        f"{metrics['fps_median_ms']:.1f} ms (95 % below {metrics['fps_p95_ms']:.1f} ms)."
    ]
    if "fps_batched" in metrics:
        width, height = metrics["steps_frame_size"]
        notes.append(
            f"A batch of {metrics['fps_batched_size']} takes {metrics['fps_batched_median_ms']:.1f} ms (5 % below "
            f"{metrics['fps_batched_p5_ms']:.1f}, 95 % below {metrics['fps_batched_p95_ms']:.1f}). Pre-processing is "
            f"of a made-up frame of {width}x{height} px; post-processing is NMS at infer.py's thresholds."
        )
        notes.append(metrics["branch_free_because"])
    return notes


def _interval_notes(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics.get("n_resamples"):
        return []
    unit, count = metrics["unit"], metrics["n_units"]
    notes = [f"Intervals: BCa, {metrics['n_resamples']} resamples of {count} {unit}s."]
    if count < FEW_UNITS:
        notes.append(few_units(count, unit))
    if unit != "patient":
        notes.append(f"The frames are grouped by {unit}, not by patient: intervals may be too narrow.")
    sweep = metrics.get("sweep") or {}
    if sweep.get("setting"):
        here, setting = sweep["here"], sweep["setting"]
        notes.append(
            f"Sweep: confidence {setting['conf']:g}, NMS IoU {setting['nms_iou']:g} have the best F1 on "
            f"{sweep['chosen_on']}; here they give F1 {format_value(here['f1'])}, precision "
            f"{format_value(here['precision'])}, recall {format_value(here['recall'])}."
        )
    return notes


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite the tables asked for and name the files."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.report",
        description="Rewrite the paper's Tables 4 to 10 and figures 3 and 5.",
        epilog="example: python -m evaluation.report ablations --results results",
    )
    parser.add_argument("what", choices=("ablations",), help="what run_all_ablations.py left")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where it left it (default: results)")
    parser.add_argument("--ablations", type=Path, default=Path("configs/ablations.yaml"),
                        help="the registry (default: configs/ablations.yaml)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="default: RESULTS/tables")
    parser.add_argument("--all-tables", action="store_true", help="Tables 9 and 10 for other data and sides, too")
    arguments = parser.parse_args(argv)
    from evaluation.paper.tables import rewrite

    out = arguments.out or arguments.results / "tables"
    for path in rewrite(arguments.results, arguments.ablations, out, all_tables=arguments.all_tables):
        print(f"written: {path}")

