"""The report as a whole: its title, its first numbers, and its sections in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from data_utils.errors import InputError
from data_utils.manifest import FEW_UNITS, few_units
from evaluation.paper.published import PAPER_COLUMN
from evaluation.report import charts as curves
from evaluation.report import tables
from evaluation.report.charts import LineChart
from evaluation.report.parts import (
    Charts,
    Folded,
    Part,
    Points,
    Section,
    Table,
    Text,
    between,
    counted,
    knows_patients,
    object_noun,
    percent,
)
from evaluation.report.pictures import case_galleries, panel_gallery
from evaluation.report.run_files import RunFiles
from evaluation.report.tables import data_section, ledger_words, provenance_section
from evaluation.report.text import format_value, metric_rows, which_frames
from evaluation.score import NO_CHOICE

# The report's first words: one paragraph for a clinician, what to beware of, and the table of headline numbers.


SAID_ELSEWHERE = ("Split by ", "This list has been scored")  # notes that warnings and the page's head hold already


def headline_section(files: RunFiles) -> Section:
    """Return the section that says it all in short."""
    metrics, notes = files.metrics, list(files.record.get("notes", []))
    parts: list[Part] = [Text(summary(metrics, files.record.get("paper", {})))]
    parts += [Text(words, is_warning=True) for words in warnings(files)]
    parts.append(headline_table(metrics, files.record.get("paper", {})))
    parts.append(Text(how_to_read(metrics, bool(files.record.get("paper")))))
    kept = [note for note in [*notes, *files.problems] if not note.startswith(SAID_ELSEWHERE)]
    # What follows NO_CHOICE may hold a frame's name.
    parts.append(Points([f"{NO_CHOICE}." if note.startswith(NO_CHOICE) else note for note in kept]))
    return Section("headline", "In short", parts)


def summary(metrics: Mapping[str, Any], paper: Mapping[str, float]) -> str:
    """Return what was found, in plain words."""
    noun, view = object_noun(metrics), metrics["sensitivity"]
    if not metrics["n_frames"]:
        return "There are no frames to score, so nothing is known."
    where = f"On {counted(metrics['n_frames'], 'frame')}"
    if knows_patients(metrics):
        where += f" of {counted(metrics['n_units'], metrics['unit'])}"
    if not view["n_lesions"]:
        return f"{where} there is no {noun} to find, so sensitivity and AP are not defined. {_healthy(metrics)}"
    found = f"{view['n_lesions_found']:,} of {counted(view['n_lesions'], noun)}"
    at = "counting every detection" if metrics["best_threshold"] is None else \
        f"counting detections with a score above {metrics['best_threshold']:.3g}"  # fmt: skip
    if not view["n_lesions_found"]:
        found = f"none of {counted(view['n_lesions'], noun)}"
    recall = f"{percent(view['per_lesion'])}{_likely(metrics, 'recall', as_percent=True)}"
    alarms = metrics["intervals"].get("fp_per_frame", {}).get("value")
    words = [f"{where}, {at}, the detector found {found} ({recall})"]
    if view["n_patients"] and metrics["unit"] == "patient":
        patients = counted(view["n_patients"], "patient")
        words.append(f" and at least one {noun} in {view['n_patients_found']:,} of {patients}")
    words.append(f", and raised {format_value(alarms, 2)} false alarms a frame." if alarms is not None else ".")
    words.append(f" AP50, which judges the ranking over all thresholds, is {format_value(metrics['ap50'])}")
    words.append(_likely(metrics, "ap50") + ".")
    if "ap50" in paper:
        words.append(f" The paper reports {paper['ap50']:.2f} for this configuration on its own frames.")
    return "".join(words) + " " + _healthy(metrics)


def warnings(files: RunFiles) -> list[str]:
    """Return what a reader must know before believing the numbers."""
    metrics = files.metrics
    words = []
    if metrics["unit"] not in ("patient", "frame"):
        words.append(f"The frames are grouped by {metrics['unit']}, NOT by patient: expect worse on new patients, "
                     "and true intervals that are wider than those below.")  # fmt: skip
    if metrics["unit"] == "frame":
        words.append("Nothing is known of the patients: frames count as if each came from another patient.")
    if metrics.get("threshold_is_own"):
        words.append("The threshold was chosen on these very frames: precision, recall and F1 are optimistic.")
    if verdict := files.audit_verdict:
        if not verdict.startswith("passed"):
            words.append(f"The leakage and label audit of this data set did not pass ({verdict}); see Data.")
    else:
        words.append("No audit of this data set lies beside the results: whether its parts leak is not known.")
    if metrics["n_frames"] and metrics["n_units"] < FEW_UNITS:
        words.append(few_units(metrics["n_units"], metrics["unit"]))
    elif metrics["n_frames"] and metrics["n_units"] < 30:
        words.append(f"With {counted(metrics['n_units'], metrics['unit'])}, intervals are rough.")
    if metrics.get("n_non_finite"):
        words.append(f"{counted(metrics['n_non_finite'], 'frame')} gave NaN or infinite outputs, which were left out.")
    return words


def headline_table(metrics: Mapping[str, Any], paper: Mapping[str, float]) -> Table:
    """Return the measures with both intervals, beside the paper's values where there are any."""
    headers = ["measure", "value"]
    resampled = bool(metrics.get("n_resamples"))
    headers += ["95 % interval (BCa)"] * resampled + [PAPER_COLUMN] * bool(paper)
    headers += ["95 % interval (percentile)"] * resampled
    rows = []
    for key, label, value in metric_rows(metrics):
        if key == "patient_sensitivity" and not knows_patients(metrics):
            continue
        interval = metrics["intervals"].get(key)
        published = [format_value(paper[key], 2) if key in paper else ""] if paper else []
        bca, percentile = ([between(interval, kind=kind)] if resampled else [] for kind in ("bca_", ""))
        rows.append([label, value, *bca, *published, *percentile])
    return Table("Headline numbers", headers, rows)


def how_to_read(metrics: Mapping[str, Any], is_in_paper: bool = True) -> str:
    """Return what the numbers rest on."""
    words = [f"A hit overlaps a true box of its class with IoU of at least {metrics['iou_thresh']:g}."]
    if metrics["best_threshold"] is not None and "threshold_origin" in metrics:
        words.append(f"Threshold: {metrics['threshold_origin']}.")
    if metrics.get("n_resamples"):
        words.append(f"Intervals come from {metrics['n_resamples']:,} resamples of "
                     f"{counted(metrics['n_units'], metrics['unit'])}, drawn whole. They are of this one training: "
                     "what another seed would have given is left out.")  # fmt: skip
    else:
        words.append("No intervals: resampling was switched off (eval.resamples = 0).")
    if not is_in_paper:
        words.append("The paper has no value for these data and settings.")
    words.append(f"Detections: scores above {metrics['conf_thresh']:g}, at most {metrics['max_det']} a frame, after "
                 f"non-maximum suppression at IoU {metrics['nms_iou']:g}.")  # fmt: skip
    return " ".join(words)


def _healthy(metrics: Mapping[str, Any]) -> str:
    view = metrics["healthy"]
    if not view["n_frames"]:
        return "There is no healthy frame among them, so false alarms on such frames are not known."
    return (f"Of {counted(view['n_frames'], 'healthy frame')}, {percent(view['clean_share'])} stayed free of false "
            f"alarms.")  # fmt: skip


def _likely(metrics: Mapping[str, Any], key: str, as_percent: bool = False) -> str:
    text = between(metrics["intervals"].get(key), as_percent)
    return f"; 95 % interval {text}" if text and as_percent else f" (95 % interval {text})" if text else ""


# The sections between headline and data: curves, tables, training, pictures. What is missing is said in words.


def curve_sections(files: RunFiles) -> list[Section]:
    """Return detection curves, size, and calibration."""
    metrics, noun = files.metrics, object_noun(files.metrics)
    nothing = _why_no_curves(files)
    over_threshold = metrics["threshold_curves"]
    columns = {"threshold": over_threshold["thresholds"]}
    columns |= {name: over_threshold[name] for name in ("precision", "recall", "f1")}
    size = metrics["size_curve"]
    size_columns = {"size, pixels": size["size"], **{key: size[key] for key in ("sensitivity", "low", "high")}}
    detection: list[Part] = [
        *_charts([curves.precision_recall(metrics), curves.froc(metrics), curves.thresholds(metrics)], nothing),
        tables.froc_table(metrics),
        Folded("Precision, recall and F1 over the threshold, in numbers",
               tables.curve_table("At these thresholds", columns)),
    ]  # fmt: skip
    too_few = f"There are too few {noun}s, or all are of one size, for a curve over size."
    by_size: list[Part] = _charts([curves.over_size(metrics)], too_few)
    if size["size"]:
        band = "; the band holds 95 % of resampled curves at each size" if size["low"][0] is not None else ""
        by_size.append(Text(f"A smooth mean over the {size['n_lesions']:,} {noun}s, at the threshold{band}."))
        by_size.append(Folded("The curve in numbers", tables.curve_table("Sensitivity over size", size_columns)))
    view = metrics["calibration"]
    scores: list[Part] = _charts([curves.calibration(metrics)], f"No detection scores {view['from_score']:g} or more.")
    if view["bins"]:
        scores.append(Text(f"Below the diagonal the detector is too sure of itself. Expected calibration error: "
                           f"{format_value(view['ece'])}, over scores from {view['from_score']:g}."))  # fmt: skip
        scores.append(Folded("Calibration in numbers", tables.calibration_table(metrics)))
    return [
        Section("curves", "Detection curves", detection),
        Section("size", f"Sensitivity over {noun} size", by_size),
        Section("calibration", "Can the score be believed?", scores),
    ]


def table_sections(files: RunFiles) -> list[Section]:
    """Return breakdowns, healthy frames, confusion, and the sweep."""
    metrics = files.metrics
    healthy = tables.healthy_table(metrics) or Text("There are no healthy frames in this list, so false alarms on them "
                                                    "are not known.")  # fmt: skip
    sweep: list[Part] = [Text("There are no validation predictions of these weights, so there is no sweep.")]
    if (table := tables.sweep_table(metrics)) is not None:
        sweep = [table, Text(_sweep_words(files))]
    return [
        Section("breakdown", "By source, modality, size and class", tables.breakdown_tables(metrics)),
        Section("healthy", "Healthy frames", [healthy]),
        Section("confusion", "What was taken for what", [tables.confusion_table(metrics)]),
        Section("sweep", "Confidence and NMS threshold", sweep),
    ]


def picture_sections(files: RunFiles, with_pictures: bool) -> list[Section]:
    """Return reconstruction panels and the galleries of misses and false alarms."""
    if not with_pictures:
        left_out = Text("Pictures were left out on request (--no-pictures).")
        return [Section("reconstruction", "Super-resolution", [left_out]), Section("cases", "Worst cases", [left_out])]
    return [
        Section("reconstruction", "Super-resolution", _reconstruction(files)),
        Section("cases", "Worst cases", case_galleries(files)),
    ]


def training_section(files: RunFiles) -> Section:
    """Return the curves of the training log."""
    charts = curves.training(files.log) if files.log else []
    nothing = "No training log lies beside this evaluation, so there are no training curves."
    return Section("training", "Training", _charts(charts, nothing))


def _reconstruction(files: RunFiles) -> list[Part]:
    parts: list[Part] = []
    metrics = files.metrics
    if metrics.get("psnr") is not None:
        frames = which_frames(metrics) or counted(metrics.get("n_sr_frames") or 0, "frame")
        means = f"{metrics['psnr']:.2f} dB, bicubic upsampling {metrics['psnr_bicubic']:.2f} dB"
        parts.append(Text(f"Mean PSNR over {frames}: {means}."))
    if files.panel is None:
        return [*parts, Text("No picture panel lies in this folder, so no reconstruction is shown.")]
    try:
        gallery = panel_gallery(files.panel)
    except InputError as error:
        return [*parts, Text(f"The picture panel cannot be shown: {error}.")]
    return [*parts, Text(gallery) if isinstance(gallery, str) else gallery]


def _charts(charts: Sequence[LineChart | None], otherwise: str) -> list[Part]:
    drawn = [chart for chart in charts if chart is not None]
    return [Charts(drawn)] if drawn else [Text(otherwise)]


def _why_no_curves(files: RunFiles) -> str:
    noun = object_noun(files.metrics)
    if not files.metrics["n_boxes"]:
        return f"These frames hold no {noun}, so there are no curves."
    return "Nothing was detected, so there are no curves."


def _sweep_words(files: RunFiles) -> str:
    sweep = files.metrics["sweep"]
    setting, here = sweep["setting"], sweep["here"]
    if setting is None:
        return "No setting has a hit on the validation frames, so none was chosen."
    f1, precision, recall = (format_value(here[name]) for name in ("f1", "precision", "recall"))
    return (f"Chosen there, set off in the table: confidence {setting['conf']:g}, NMS IoU {setting['nms_iou']:g}. "
            f"On the frames of this report it gives F1 {f1}, precision {precision} and recall {recall}.")  # fmt: skip


CLOSING = ("This page loads nothing and sends nothing. Patients are hashed and file names left out; pictures come from "
           "the prepared copies alone, without metadata, but show parts of frames with whatever was burned into them: "
           "handle the page as the frames themselves.")  # fmt: skip
CLOSING_WITHOUT = "This page loads nothing, sends nothing, and shows no frame."


def page_values(files: RunFiles, with_pictures: bool) -> dict[str, Any]:
    """Return what the template needs."""
    sections = [
        headline_section(files),
        *curve_sections(files),
        *table_sections(files),
        *picture_sections(files, with_pictures),
        training_section(files),
        data_section(files),
        provenance_section(files),
    ]
    return {
        "title": f"{files.record.get('data', 'Evaluation')}: {_model(files)}",
        "subtitle": ledger_words(files),
        "totals": totals(files.metrics),
        "sections": sections,
        "closing": CLOSING if with_pictures else CLOSING_WITHOUT,
    }


def totals(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (value, label) of the few numbers shown large."""
    intervals = metrics["intervals"]

    def with_interval(label: str, key: str, as_percent: bool = False, digits: int = 3) -> str:
        text = between(intervals.get(key), as_percent, digits=digits)
        return f"{label} ({text})" if text else label

    alarms = intervals.get("fp_per_frame", {}).get("value")
    return [
        (format_value(metrics["ap50"]), with_interval("AP50", "ap50")),
        (percent(metrics["recall"]), with_interval(f"of {object_noun(metrics)}s found", "recall", as_percent=True)),
        (percent(metrics["precision"]), with_interval("of detections right", "precision", as_percent=True)),
        (format_value(alarms, 2), with_interval("false alarms a frame", "fp_per_frame", digits=2)),
    ]


def _model(files: RunFiles) -> str:
    weights = PurePath(str(files.record.get("weights", "weights unknown")))
    run = files.record_file.parent.name
    return f"{run}, {weights.stem}" if weights.parent.name == run else weights.name
