"""The tables of the report, each from an evaluation's numbers alone, with the number of cases beside every share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.froc import FALSE_ALARM_RATES, rate_name
from evaluation.report import format_value
from evaluation.reporting.parts import Table
from evaluation.reporting.wording import knows_patients, object_noun, percent


def froc_table(metrics: Mapping[str, Any]) -> Table:
    """Return sensitivity at each rate of false alarms, for each meaning of a hit, overall and by size."""
    rates = [rate_name(rate) for rate in FALSE_ALARM_RATES]
    rows = [
        [f"{view['hit']}, {size}", f"{row['n_lesions']:,}", *(format_value(row.get(rate)) for rate in rates)]
        for view in metrics["froc"].values()
        for size, row in view["sensitivity"].items()
    ]
    caption = "Sensitivity at so many false alarms a frame, by what counts as a hit and by size"
    return Table(caption, ["hit, size", "n", *rates], rows)


def breakdown_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return a table by source and one by modality (AP and false alarms too), by size, and by class."""
    noun, rows = object_noun(metrics), metrics["breakdown"]
    frames = {"n_lesions": f"{noun}s (n)", "n_frames": "frames (n)"}
    if knows_patients(metrics):
        frames["n_patients"] = "patients (n)"
    whole = {**frames, "sensitivity": "sensitivity", "ap50": "AP50", "fp_per_frame": "false alarms a frame"}
    tables = [_breakdown(rows, by, whole) for by in ("source", "modality")]
    tables.append(_breakdown(rows, "size", {**frames, "sensitivity": "sensitivity"}))
    counts = {row["name"]: row for row in rows if row["by"] == "class"}
    classes = [{"by": "class", **counts.get(row["name"], {}), **row} for row in metrics["per_class"]]
    measured = {"recall": "sensitivity", "precision": "precision", "f1": "F1", "ap50": "AP50", "tp": "hits",
                "fp": "false alarms", "fn": "missed"}  # fmt: skip
    return [*tables, _breakdown(classes, "class", {**frames, **measured})]


def confusion_table(metrics: Mapping[str, Any]) -> Table:
    """Return what was found (rows) against what is true (columns), the background last in both."""
    labels, matrix = metrics["confusion_labels"], metrics["confusion"]
    last = len(labels) - 1
    rows = [
        ["missed" if row == last else f"found {label}",
         *("" if row == column == last else f"{count:,}" for column, count in enumerate(counts))]
        for row, (label, counts) in enumerate(zip(labels, matrix, strict=True))
    ]  # fmt: skip
    headers = ["at the threshold", *(f"true {label}" for label in labels[:-1]), "false alarm"]
    diagonal = frozenset((place, place + 1) for place in range(last))
    return Table("Confusion matrix: boxes found against true ones", headers, rows, diagonal)


def healthy_table(metrics: Mapping[str, Any]) -> Table | None:
    """Return what happens on healthy frames; None where there are none."""
    view = metrics["healthy"]
    if not view["n_frames"]:
        return None
    rows = [
        ["healthy frames (n)", f"{view['n_frames']:,}"],
        ["false alarms on them", f"{view['n_false_alarms']:,}"],
        ["false alarms a healthy frame", format_value(view["fp_per_frame"])],
        ["share without any false alarm", percent(view["clean_share"])],
    ]
    return Table("Healthy frames, at the threshold", ["measure", "value"], rows)


def sweep_table(metrics: Mapping[str, Any]) -> Table | None:
    """Return F1 over confidence and NMS IoU on the validation frames, the chosen setting marked; None without any."""
    sweep = metrics["sweep"]
    if not sweep["rows"]:
        return None
    confs = sorted({row["conf"] for row in sweep["rows"]})
    ious = sorted({row["nms_iou"] for row in sweep["rows"]})
    by_setting = {(row["conf"], row["nms_iou"]): row for row in sweep["rows"]}
    rows = [[f"{conf:g}", *(_setting(by_setting.get((conf, iou))) for iou in ious)] for conf in confs]
    chosen = sweep["setting"]
    marked = frozenset({(confs.index(chosen["conf"]), ious.index(chosen["nms_iou"]) + 1)} if chosen else ())
    caption = f"F1 (precision / recall) on {sweep['chosen_on']}"
    return Table(caption, ["confidence", *(f"NMS IoU {iou:g}" for iou in ious)], rows, marked)


def calibration_table(metrics: Mapping[str, Any]) -> Table:
    """Return the bins of the calibration chart."""
    rows = [[format_value(row["score"]), format_value(row["precision"]), f"{row['n']:,}"]
            for row in metrics["calibration"]["bins"]]  # fmt: skip
    return Table("Calibration in numbers", ["mean score", "share of hits", "detections (n)"], rows)


def curve_table(caption: str, columns: Mapping[str, Sequence[float | None]], most: int = 12) -> Table:
    """Return about `most` evenly spread points of curves as numbers."""
    points = list(zip(*columns.values(), strict=True))
    kept = points[:: max(1, -(-len(points) // most))]
    return Table(caption, list(columns), [[format_value(value) for value in point] for point in kept])


def _breakdown(rows: Sequence[Mapping[str, Any]], by: str, columns: Mapping[str, str]) -> Table:
    cells = [[row["name"], *(format_value(row.get(key)) for key in columns)] for row in rows if row["by"] == by]
    return Table(f"By {by}, at the threshold", [by, *columns.values()], cells)


def _setting(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return format_value(None)
    return f"{format_value(row['f1'])} ({format_value(row['precision'], 2)} / {format_value(row['recall'], 2)})"
