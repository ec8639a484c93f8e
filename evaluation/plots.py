"""Pictures of a run, drawn from its saved files alone: `python -m evaluation.plots RUN` redraws them all.

RUN/log.csv gives loss_curves.png, RUN/panels/*.npz and RUN/denoise*_panel.npz a picture beside each, RUN/eval_*.json
precision-recall curves.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_utils.errors import InputError, run_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASS_AP = "ap50["  # columns "ap50[<class>]"
# One set of axes for each group of log columns that holds a number.
LOG_GROUPS = {
    "total loss": ("total_loss",),
    "loss terms, unweighted": ("l_sr", "l_bbox", "l_dfl", "l_cls"),
    "validation AP": ("ap50", "ap50_small", "ap50_medium", "ap50_large", "map50_95"),
    "validation AP50 by class": (CLASS_AP,),
    "PSNR, dB": ("psnr", "psnr_bicubic", "psnr_noisy"),
    "learning rate": ("lr",),
}
CURVES_A_ROW = 3
LOGARITHMIC = ("total loss", "loss terms, unweighted")
TRUTH, FOUND = "#22c55e", "#facc15"  # green, yellow
MIN_SCORE, MAX_SHOWN = 0.25, 20  # predictions drawn on a panel: score at least, number at most for each frame
DPI = 110


def read_log(log_csv: str | Path) -> tuple[dict[str, list[float]], int]:
    """Read a log with one line for each epoch into {column: values}, NaN where a cell holds no number.

    Also returns how many lines were skipped for having another number of cells than the header, as a torn last line
    has. Raises InputError when there is no log or no epoch in it.
    """
    try:
        with open(log_csv, encoding="utf-8", newline="", errors="replace") as stream:
            header, *lines = list(csv.reader(stream)) or [[]]
    except FileNotFoundError:
        raise InputError(f"{log_csv}: no such log; name a run folder that holds log.csv") from None
    whole = [line for line in lines if len(line) == len(header)]
    columns = {name: [_number(line[index]) for line in whole] for index, name in enumerate(header)}
    if "epoch" not in columns or not whole:
        raise InputError(f"{log_csv}: holds no finished epoch")
    return columns, len(lines) - len(whole)


def training_curves(log: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Sequence[float]]]:
    """Return {title: {column: values}} of the groups of columns that hold a number."""
    groups = {title: _columns_with_numbers(log, names) for title, names in LOG_GROUPS.items()}
    return {title: columns for title, columns in groups.items() if columns}


def loss_curves(log_csv: str | Path, out_png: str | Path) -> int:
    """Draw losses, validation AP, PSNR and learning rate over the epochs; return the number of torn lines skipped."""
    log, n_skipped = read_log(log_csv)
    groups = training_curves(log)
    if not groups:
        raise InputError(f"{log_csv}: none of the known columns holds a number: {sum(LOG_GROUPS.values(), ())}")
    n_rows = math.ceil(len(groups) / CURVES_A_ROW)
    figure = _figure(4.8 * min(len(groups), CURVES_A_ROW), 3.6 * n_rows)
    for position, (title, columns) in enumerate(groups.items(), start=1):
        axes = figure.add_subplot(n_rows, min(len(groups), CURVES_A_ROW), position)
        _curves(axes, log["epoch"], columns, logarithmic=title in LOGARITHMIC)
        axes.set(title=title, xlabel="epoch")
    _save(figure, out_png)
    return n_skipped


def draw_panel(npz_path: str | Path, out_png: str | Path) -> None:
    """Draw one row for each frame: LR input, SR output and HR target where present, truth (green) and predictions.

    The archive holds lr uint8 [n, S, S, 3] RGB, optionally sr and hr uint8 [n, 2S, 2S, 3], truth_xyxy float32 [n, M, 4]
    and pred float32 [n, K, 6] (x1, y1, x2, y2, score, class), both in LR pixels with NaN rows as padding.
    """
    panel = read_archive(npz_path)
    missing = [name for name in ("lr", "truth_xyxy", "pred") if name not in panel]
    if missing:
        raise InputError(f"{npz_path}: the panel lacks {', '.join(missing)}")
    images = {"LR input": panel["lr"], "SR output": panel.get("sr"), "HR target": panel.get("hr")}
    shown = {title: image for title, image in images.items() if image is not None and len(image)}
    background = shown.get("HR target", panel["lr"])
    n_frames, n_columns, side = len(panel["lr"]), len(shown) + 1, 3.0
    figure = _figure(side * n_columns, side * n_frames + 0.5)
    for row in range(n_frames):
        for column, (title, image) in enumerate(shown.items(), start=1):
            _picture(figure, (n_frames, n_columns, row * n_columns + column), image[row], title if not row else "")
        title = f"truth (green), found > {MIN_SCORE:g} (yellow)" if not row else ""
        axes = _picture(figure, (n_frames, n_columns, (row + 1) * n_columns), background[row], title)
        scale = background.shape[1] / panel["lr"].shape[1]
        _boxes(axes, panel["truth_xyxy"][row] * scale, panel["pred"][row], scale)
    _save(figure, out_png)


def draw_comparison(npz_path: str | Path, out_png: str | Path) -> None:
    """Draw one row for each frame and one column for each array of the archive, uint8 [n, S, S, 3] RGB, by its name."""
    columns = read_archive(npz_path)
    n_frames = min((len(images) for images in columns.values()), default=0)
    if not n_frames:
        raise InputError(f"{npz_path}: the panel holds no picture")
    figure = _figure(3.0 * len(columns), 3.0 * n_frames + 0.5)
    for column, (title, images) in enumerate(columns.items(), start=1):
        for row in range(n_frames):
            place = (n_frames, len(columns), row * len(columns) + column)
            _picture(figure, place, images[row], title if not row else "")
    _save(figure, out_png)


def pr_curves(evaluation_json: str | Path, out_png: str | Path) -> None:
    """Draw precision over recall of each class from the JSON that evaluate.py writes."""
    try:
        metrics: dict[str, Any] = json.loads(Path(evaluation_json).read_text(encoding="utf-8"))["metrics"]
        recall, curves = metrics["pr_curves"]["recall"], metrics["pr_curves"]["precision"]
        ap50 = {row["name"]: row["ap50"] for row in metrics["per_class"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{evaluation_json}: not an evaluation written by evaluate.py ({error})") from None
    figure = _figure(5.2, 4.4)
    axes = figure.add_subplot()
    for name, precision in curves.items():
        axes.plot(recall, precision, label=f"{name}: AP {ap50[name]:.3f}", linewidth=1.6)
    if curves:
        axes.legend(loc="lower left", fontsize=9)
    else:
        axes.text(0.5, 0.5, "no true boxes", ha="center", va="center")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"precision and recall at IoU {metrics['iou_thresh']:g}, {metrics['n_boxes']} boxes", fontsize=11)
    axes.grid(alpha=0.3)
    _save(figure, out_png)


def redraw(run: Path) -> list[str]:
    """Redraw every picture of a run folder; return a line for each, with what was skipped."""
    lines = []
    if (run / "log.csv").is_file():
        n_skipped = loss_curves(run / "log.csv", run / "loss_curves.png")
        lines.append(f"{run / 'loss_curves.png'}" + (f" ({n_skipped} torn lines skipped)" if n_skipped else ""))
    for archive in sorted(run.glob("panels/*.npz")):
        draw_panel(archive, archive.with_suffix(".png"))
        lines.append(str(archive.with_suffix(".png")))
    for archive in sorted(run.glob("denoise*_panel.npz")):
        draw_comparison(archive, archive.with_suffix(".png"))
        lines.append(str(archive.with_suffix(".png")))
    for record in sorted(run.glob("eval_*.json")):
        picture = record.with_name(record.stem.replace("eval_", "pr_", 1) + ".png")
        pr_curves(record, picture)
        lines.append(str(picture))
    if not lines:
        raise InputError(f"{run}: nothing to draw; a run folder holds log.csv, panels or eval_*.json")
    return lines


def read_archive(npz_path: str | Path) -> dict[str, Any]:
    """Read the arrays of a panel file by name; raises InputError for a file that is none."""
    import numpy as np

    try:
        with np.load(npz_path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{npz_path}: not a readable panel file ({str(error).splitlines()[0]})") from None


def _columns_with_numbers(log: Mapping[str, Sequence[float]], names: Sequence[str]) -> dict[str, Sequence[float]]:
    """Return the columns of a group that hold a number."""
    found = [name for name in names if name in log]
    if CLASS_AP in names:
        found += [column for column in log if column.startswith(CLASS_AP)]
    return {column: log[column] for column in found if any(map(math.isfinite, log[column]))}


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _curves(axes: Axes, epochs: Sequence[float], columns: Mapping[str, Sequence[float]], logarithmic: bool) -> None:
    """Draw each column over the epochs that have a value of it: validation may skip some."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for name, values in columns.items():
        points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
        axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 30 else "", linewidth=1.4)
    if logarithmic:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        digits = range(1, 10) if high < 10 * low else (1, 2, 5) if high < 1000 * low else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=digits))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _picture(figure: Figure, place: tuple[int, int, int], image: Any, title: str) -> Axes:
    axes = figure.add_subplot(*place)
    axes.imshow(image)
    axes.set_axis_off()
    axes.set_title(title, fontsize=10)
    return axes


def _boxes(axes: Axes, truth_xyxy: Any, predictions: Any, scale: float) -> None:
    """Draw boxes on a picture `scale` times the LR side; scores stand inside the box's upper edge."""
    from matplotlib.patches import Rectangle

    for x1, y1, x2, y2 in truth_xyxy[[math.isfinite(row[0]) for row in truth_xyxy]]:
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=TRUTH, linewidth=1.8))
    kept = [row for row in predictions.tolist() if math.isfinite(row[0]) and row[4] > MIN_SCORE]
    several = len({int(row[5]) for row in kept}) > 1
    for *corners, score, class_id in sorted(kept, key=lambda row: -row[4])[:MAX_SHOWN]:
        x1, y1, x2, y2 = (value * scale for value in corners)
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=FOUND, linewidth=1.2))
        label = f"{int(class_id)}: {score:.2f}" if several else f"{score:.2f}"
        box = {"facecolor": FOUND, "edgecolor": "none", "pad": 0.8}
        axes.text(x1, y1, label, fontsize=6.5, va="bottom", color="black", bbox=box, clip_on=True)


def _figure(width: float, height: float) -> Figure:
    # Without pyplot there is no global state, no window, and the Agg backend draws.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, out_png: str | Path) -> None:
    out_png = Path(out_png)
    out_png.parent.mkdir(parents=True, exist_ok=True)
    temporary = out_png.with_name(f".{out_png.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, dpi=DPI, format="png")
        os.replace(temporary, out_png)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    """Redraw the run named on the command line and say what was drawn."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.plots",
        description="Redraw a run's pictures from its saved files.",
        epilog="example: python -m evaluation.plots results/runs/RUN",
    )
    parser.add_argument("run", type=Path, help="run folder, such as results/runs/NAME")
    for line in redraw(parser.parse_args().run):
        print(line)


if __name__ == "__main__":
    run_command(main)
