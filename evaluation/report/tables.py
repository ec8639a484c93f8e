"""The tables of the report, each from an evaluation's numbers alone, with the number of cases beside every share."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from evaluation.report.parts import Folded, Part, Section, Table, Text, counted, knows_patients, object_noun, percent
from evaluation.report.run_files import RunFiles, section
from evaluation.report.text import format_interval, format_value
from evaluation.scoring.froc import FALSE_ALARM_RATES, rate_name


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


# Where the numbers come from: data and their audit, weights, settings, versions, hashes, commands and dates.


PACKAGES = ("torch", "torchvision", "ultralytics", "numpy", "scipy", "opencv-python", "pydantic")
COLUMNS = {
    **{name: name for name in ("part", "patients", "groups", "frames")},
    **{"lesion_frames": "with a box", "healthy_frames": "healthy"},
    **{name: name for name in ("boxes", "small", "medium", "large")},
}
NOT_RECORDED = "not recorded"


def data_section(files: RunFiles) -> Section:
    """Return what the data set holds and what its audit found."""
    dataset, split = files.dataset, files.record.get("split")
    name = dataset.get("name", NOT_RECORDED)
    parts: list[Part] = [Text(f"Data set {name}, scored on {files.record.get('data', NOT_RECORDED)}: "
                              f"{counted(files.metrics['n_frames'], 'frame')}, "
                              f"{counted(files.metrics['n_boxes'], 'true box')}. "
                              f"Grouped by {files.metrics['unit']}.")]  # fmt: skip
    rows = [row for row in files.summary if row["split"] == f"split{split}"]
    shown = [column for column in COLUMNS if rows and column in rows[0]]
    if rows:
        headers = [COLUMNS[column] for column in shown]
        cells = [[row[column] for column in shown] for row in rows]
        parts.append(Table(f"Split {split}; sizes in original pixels, below 32x32 and 96x96", headers, cells))
    else:
        parts.append(Text("The table of the split (summary.csv beside its lists) is not at hand."))
    return Section("data", "Data", [*parts, *_audit(files, split)])


def provenance_section(files: RunFiles) -> Section:
    """Return what is needed to have the same numbers again."""
    parts: list[Part] = [Table("What was measured, and with what", ["", "value"], _facts(files))]
    if files.others:
        parts.append(_others(files.others))
    if files.config:
        settings = yaml.safe_dump(_without_names(files.config), sort_keys=False, allow_unicode=True)
        parts.append(Folded("All settings", text=settings))
    else:
        parts.append(Text("The settings are not recorded."))
    return Section("provenance", "How to have these numbers again", parts)


def ledger_words(files: RunFiles) -> str:
    """Say how often this list was scored; the more often, the less its numbers are worth."""
    if files.scorings is not None and files.scorings.n_scorings:
        return (f"{files.scorings.sentence()} Each further look at a test list, followed by a change, makes its "
                "numbers more optimistic.")  # fmt: skip
    noted = [note for note in files.record.get("notes", []) if note.startswith("This list has been scored")]
    if noted:
        return noted[0]
    if files.about.get("data") in ("val", "val_healthy", "train"):
        return "These frames are for choosing: they are scored in every epoch, and numbers on them are optimistic."
    return "How often this list was scored is not known: the ledger is not at hand."


def _facts(files: RunFiles) -> list[list[str]]:
    """Return (what, value) rows."""
    record, about, run = files.record, files.about, files.run
    evaluated = files.last_scoring or {}
    written = datetime.fromtimestamp(files.record_file.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    rows = {
        "weights": record.get("weights"),
        "weights, SHA-256": record.get("weights_sha256"),
        "epoch of the weights": record.get("epoch"),
        "list of frames, hash": about.get("list_sha256"),
        "true boxes, hash": about.get("truth_sha256"),
        "settings, hash": about.get("config_sha256"),
        "settings of the training, hash": run.get("config_hash"),
        "evaluation command": record.get("command") or evaluated.get("command"),
        "evaluated": record.get("time") or evaluated.get("time") or f"{written} (date of the file)",
        "training command": shlex.join(map(str, run.get("command", []))),
        "training began": run.get("started"),
        "training machine": " ".join(str(run[key]) for key in ("machine", "device", "precision") if key in run),
        "training versions": _versions({key: run[key] for key in ("python", "torch") if key in run}),
        "versions where this page was drawn": _versions(_installed()),
    }
    return [[name, NOT_RECORDED if value in (None, "", []) else str(value)] for name, value in rows.items()]


def _installed() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without the frames that dataset.audit.known_pairs names: a name may hold a patient's id."""
    dataset = section(config, "dataset")
    audit = section(dataset, "audit")
    if not audit.get("known_pairs"):
        return dict(config)
    hidden = f"{len(audit['known_pairs'])}, names left out"
    return {**config, "dataset": {**dataset, "audit": {**audit, "known_pairs": hidden}}}


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _audit(files: RunFiles, split: Any) -> list[Part]:
    """Return the audit's verdict and its checks on this split; messages stay in audit.json, for they name files."""
    verdict = files.audit_verdict
    if not verdict:
        return [Text("No audit of this data set lies beside the results (audit.json): whether its parts leak is not "
                     "known. `python -m data_utils.audit` writes one.", is_warning=True)]  # fmt: skip
    checks = [check for check in files.audit.get("checks", []) if check.get("split") in (f"split{split}", "all")]
    rows = [[str(check.get("check")), format_value(check.get("found")), str(check.get("verdict"))] for check in checks]
    moment = "" if files.audit else ", before the training"
    words = Text(f"Leakage and label audit{moment}: {verdict}.", is_warning=not verdict.startswith("passed"))
    return [words, Table("Checks of the audit on this split", ["check", "found", "verdict"], rows)] if rows else [words]


def _others(records: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for record in records:
        metrics = record.get("metrics")
        if isinstance(metrics, dict):
            interval = format_interval(metrics.get("intervals", {}).get("ap50"))
            cells = [str(record.get("weights", "")), str(record.get("epoch")), format_value(metrics.get("n_frames"))]
            rows.append([str(record.get("data")), *cells, f"{format_value(metrics.get('ap50'))} {interval}".strip()])
    return Table("Other evaluations in this folder", ["data", "weights", "epoch", "frames", "AP50"], rows)
