"""The sections between headline and data: curves, tables, training, pictures. What is missing is said in words."""

from __future__ import annotations

from collections.abc import Sequence

from data_utils.errors import InputError
from evaluation.report import format_value, which_frames
from evaluation.reporting import curves, tables
from evaluation.reporting.galleries import case_galleries
from evaluation.reporting.line_chart import LineChart
from evaluation.reporting.parts import Charts, Folded, Part, Section, Text
from evaluation.reporting.run_files import RunFiles
from evaluation.reporting.super_resolution import panel_gallery
from evaluation.reporting.wording import counted, object_noun


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
