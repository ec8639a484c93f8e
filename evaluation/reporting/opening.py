"""The report's first words: one paragraph for a clinician, what to beware of, and the table of headline numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_utils.manifest import FEW_UNITS, few_units
from evaluation.paper import PAPER_COLUMN
from evaluation.report import format_value, metric_rows
from evaluation.reporting.parts import Part, Points, Section, Table, Text
from evaluation.reporting.run_files import RunFiles
from evaluation.reporting.wording import between, counted, knows_patients, object_noun, percent
from evaluation.score import NO_CHOICE

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
