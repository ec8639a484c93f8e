"""Figures 3 and 5 from gathered cells: AP50 over the weight of L_SR, and AP50 against speed and cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.paper.layout import Cell, cell_of
from evaluation.paper.results import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, PAPER, SMALL = "#1d4ed8", "#b45309", "#0f766e"
LABELS = {"pretrain_coco": "YOLOv8n", "sr_layers_48": "SRE-YOLO", "yolov8s": "YOLOv8s", "yolov5n": "YOLOv5n*",
          "yolov5s": "YOLOv5s*"}  # fmt: skip
PUBLISHED_SWEEP = {0.0: "pretrain_coco", 0.1: "sr_layers_48"}  # what of figure 3 the paper gives as numbers
DPI = 130
LINE_HEIGHT, LABEL_WIDTH = 0.05, 0.17  # of a label, as shares of the axes
Label = tuple[float, float, str, str]  # x, y, text, colour


def figure_3(study: Study, out_png: Path) -> list[str]:
    """Draw AP50 over c1, whole and on small boxes; returns what is missing from it, a line each."""
    runs = {run.c1: name for name, run in study.registry.items() if 3 in run.figures and run.c1 is not None}
    figure = _new(6.4, 4.2)
    axes = figure.add_subplot()
    missing: list[str] = []
    for measure, label, colour in (("ap50", "ours, all boxes", OURS), ("small", "ours, small boxes", SMALL)):
        cells = {c1: cell_of(study, ((name, measure),)) for c1, name in runs.items()}
        _curve(axes, {c1: cell for c1, cell in cells.items() if cell.mean is not None}, label, colour)
        missing += [f"figure 3: {cell.why}" for cell in cells.values() if cell.mean is None]
    published = {c1: study.registry[name].paper for c1, name in PUBLISHED_SWEEP.items() if name in study.registry}
    points = {c1: paper["ap50"] for c1, paper in published.items() if "ap50" in paper}
    if points:
        axes.plot([*points], [*points.values()], "D", color=PAPER, mfc="none", label="published (Tables 4 and 6)")
    least = min((c1 for c1 in runs if c1), default=0.01)
    axes.set_xscale("symlog", linthresh=least, linscale=0.5)
    axes.set_xticks([*runs], [f"{c1:g}" for c1 in runs])
    axes.minorticks_off()
    axes.set(xlabel="c1, the weight of L_SR (0: no branch)", ylabel="AP50", title="Figure 3: the weight of L_SR")
    axes.margins(x=0.06)
    _finish(axes)
    _save(figure, out_png)
    return list(dict.fromkeys(missing))


def figure_5(study: Study, out_png: Path) -> list[str]:
    """Draw AP50 against FPS and against GFLOPs; returns what is missing from it, a line each."""
    runs = [name for name, run in study.registry.items() if 5 in run.figures]
    figure = _new(10.5, 4.4)
    missing: list[str] = []
    for place, (cost, heading) in enumerate((("fps", "FPS, one frame at a time"), ("gflops", "GFLOPs")), start=1):
        axes = figure.add_subplot(1, 2, place)
        labels: list[Label] = []
        for name in runs:
            label = LABELS.get(name, name)
            ap50, price = (cell_of(study, ((name, measure),)) for measure in ("ap50", cost))
            if ap50.published is not None and price.published is not None:
                axes.plot(price.published, ap50.published, "D", color=PAPER, mfc="none")
                labels.append((price.published, ap50.published, label, PAPER))
            if ap50.mean is None or price.mean is None:
                missing.append(f"figure 5: {ap50.why or price.why}")
                continue
            axes.errorbar(price.mean, ap50.mean, yerr=ap50.sd or 0.0, fmt="o", color=OURS, capsize=3)
            labels.append((price.mean, ap50.mean, label, OURS))
        axes.set(xlabel=heading, ylabel="AP50", title=f"AP50 against {'speed' if cost == 'fps' else 'cost'}")
        if any(colour == PAPER for *_, colour in labels):
            axes.plot([], [], "D", color=PAPER, mfc="none", label="published (RTX A6000)")
        axes.plot([], [], "o", color=OURS, label="ours (this machine)")
        axes.margins(x=0.24, y=0.12)
        _write(axes, labels)
        _finish(axes)
    starred = any(LABELS.get(name, name).endswith("*") for name in runs)
    figure.suptitle("Figure 5" + (" (* another architecture than the paper's YOLOv5)" if starred else ""), fontsize=11)
    _save(figure, out_png)
    return list(dict.fromkeys(missing))


def _curve(axes: Axes, cells: dict[float, Cell], label: str, colour: str) -> None:
    """Draw means over c1: bars are the SD over seeds, the band the patient-level interval."""
    if not cells:
        return
    at = sorted(cells)
    means, spread = [cells[c1].mean or 0.0 for c1 in at], [cells[c1].sd or 0.0 for c1 in at]
    axes.errorbar(at, means, yerr=spread, fmt="o-", color=colour, capsize=3, linewidth=1.4, label=label)
    bounded = [c1 for c1 in at if cells[c1].low is not None]
    low, high = [cells[c1].low or 0.0 for c1 in bounded], [cells[c1].high or 0.0 for c1 in bounded]
    axes.fill_between(bounded, low, high, color=colour, alpha=0.12, linewidth=0)


def _write(axes: Axes, labels: Sequence[Label]) -> None:
    """Write each label right of its point; those that would lie over one another are moved apart, upwards."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    written: list[tuple[float, float]] = []
    for x, y, text, colour in sorted(labels, key=lambda label: label[1]):
        at = y
        for near_x, near_y in written:  # from below: each is at least a line above those beside it
            if abs(near_x - x) < LABEL_WIDTH * (right - left):
                at = max(at, near_y + LINE_HEIGHT * (high - low))
        written.append((x, at))
        axes.annotate(text, (x, at), (8, -3), textcoords="offset points", fontsize=8, color=colour)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="best")


def _new(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # without pyplot there is no global state and no window

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, out_png: Path) -> None:
    out_png.parent.mkdir(parents=True, exist_ok=True)
    partial = out_png.with_name(f".{out_png.name}.tmp")
    try:
        figure.savefig(partial, dpi=DPI, format="png", metadata={"Software": None})
        partial.replace(out_png)
    finally:
        partial.unlink(missing_ok=True)
