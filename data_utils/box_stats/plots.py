"""Pictures of box sizes, drawn from the two files that box_stats saves: box_stats.yaml and boxes.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_utils.box_stats.sizes import Sizes
from data_utils.config.loading import read_yaml
from data_utils.imaging.images import write_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STATISTICS, BOXES = "box_stats.yaml", "boxes.csv"
BOX_COLUMNS = ("class", "lr_width", "lr_height", "width", "height")  # pixels at LR, and of the original frame
COLOURS = {4: "#9333ea", 8: "#2563eb", 16: "#16a34a", 32: "#ea580c", 64: "#dc2626"}  # by stride
FILLED: dict[str, Any] = {"color": "#94a3b8", "alpha": 0.6}
OUTLINED: dict[str, Any] = {"histtype": "step", "color": "#0f172a", "linewidth": 1.4}
DPI = 110
MAX_POINTS = 20_000  # drawn of a scatter, evenly chosen: more only darken it


def draw_box_plots(folder: str | Path) -> list[Path]:
    """Draw sizes.png, sides.png and aspect_ratios.png into the folder that holds the two files; return them."""
    folder = Path(folder)
    statistics = read_yaml(folder / STATISTICS)
    with (folder / BOXES).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    lr, original = (np.array([[float(row[name]) for name in columns] for row in rows])
                    for columns in (BOX_COLUMNS[1:3], BOX_COLUMNS[3:]))  # fmt: skip
    return [
        _drawn(folder / "sizes.png", _draw_sizes, statistics, lr),
        _drawn(folder / "sides.png", _draw_sides, statistics, lr),
        _drawn(folder / "aspect_ratios.png", _draw_ratios, statistics, lr, original),
    ]


def _drawn(path: Path, draw: Any, statistics: dict[str, Any], *sizes: Sizes) -> Path:
    # A canvas of its own instead of pyplot: no global state, no window.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Figure = Figure(figsize=(7.2, 5.4), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes, statistics, *sizes)
    axes.grid(alpha=0.25)
    canvas.draw()
    write_image(path, np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., 2::-1]))
    return path


def _draw_sizes(axes: Axes, statistics: dict[str, Any], sizes: Sizes) -> None:
    """Scatter of widths and heights at LR, with the cluster centres in their stride's colour."""
    from matplotlib.patches import Rectangle

    shown = sizes[np.linspace(0, len(sizes) - 1, min(len(sizes), MAX_POINTS)).astype(int)]
    few = len(shown) < 500
    axes.scatter(*shown.T, s=14 if few else 7, color="#475569" if few else "#94a3b8", alpha=0.7 if few else 0.5,
                 linewidths=0, label=f"{len(sizes)} boxes")  # fmt: skip
    clusters, seen = statistics["clusters"], set()
    for centre in clusters["centres"]:
        colour, size = COLOURS[centre["stride"]], (centre["width"], centre["height"])
        name = f"{centre['level']}, stride {centre['stride']}"
        axes.add_patch(Rectangle((0, 0), *size, fill=False, edgecolor=colour, linewidth=0.9, alpha=0.55))
        axes.scatter(*size, s=75, marker="X", color=colour, edgecolors="white", linewidths=0.9, zorder=3,
                     label="" if name in seen else name)  # fmt: skip
        seen.add(name)
    top = 1.06 * max(sizes.max(), *(max(c["width"], c["height"]) for c in clusters["centres"]))
    axes.plot([0, top], [0, top], color="#64748b", linewidth=0.8, linestyle=":", label="square")
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal", xlabel="box width, px at LR",
             ylabel="box height, px at LR")  # fmt: skip
    axes.set_title(f"{len(clusters['centres'])} clusters of box sizes, average best IoU "
                   f"{clusters['average_best_iou']:.3f}\n{_origin(statistics)}", fontsize=10)  # fmt: skip
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _draw_sides(axes: Axes, statistics: dict[str, Any], sizes: Sizes) -> None:
    """Histograms of the shorter side and of the root of the area at LR, with the strides as marks."""
    sides = {"square root of the area": np.sqrt(sizes.prod(axis=1)), "shorter side": sizes.min(axis=1)}
    strides = statistics["strides"]
    low = min(strides[0], *(values.min() for values in sides.values()))
    high = max(2 * strides[-1], *(values.max() for values in sides.values()))
    bins = np.geomspace(low * 0.9, high * 1.1, 41).tolist()
    for (name, values), style in zip(sides.items(), (FILLED, OUTLINED), strict=True):
        axes.hist(values, bins=bins, label=name, **style)
    for stride in strides:
        axes.axvline(stride, color=COLOURS[stride], linewidth=1.6, linestyle="--", label=f"stride {stride} px")
    _logarithmic(axes, "box side, px at LR (logarithmic)")
    head = statistics["p2_head"]
    axes.set_title(f"box sides at LR; {head['share_below_8px']:.1%} of the shorter sides under 8 px: "
                   f"{head['advice']}\n{_origin(statistics)}", fontsize=10)  # fmt: skip
    axes.set_ylabel("boxes")
    axes.legend(fontsize=8)


def _draw_ratios(axes: Axes, statistics: dict[str, Any], lr: Sizes, original: Sizes) -> None:
    """Histograms of width / height, as the detector sees the boxes and as they are in the frame."""
    ratios = {"at LR": lr[:, 0] / lr[:, 1], "in the original frame": original[:, 0] / original[:, 1]}
    reach = max(2.0, *(np.maximum(values, 1 / values).max() for values in ratios.values())) * 1.05
    bins = np.geomspace(1 / reach, reach, 42).tolist()  # an odd number of edges would put 1 on one of them
    for (name, values), style in zip(ratios.items(), (FILLED, OUTLINED), strict=True):
        axes.hist(values, bins=bins, label=f"{name}, median {np.median(values):.2f}", **style)
    axes.axvline(1, color="#64748b", linewidth=0.9, linestyle=":", label="square")
    _logarithmic(axes, "width / height (logarithmic)")
    axes.set_ylabel("boxes")
    axes.set_title(f"aspect ratios of {len(lr)} boxes\n{_origin(statistics)}", fontsize=10)
    axes.legend(fontsize=8)


def _logarithmic(axes: Axes, label: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high < 30 * low else (1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(label)


def _origin(statistics: dict[str, Any]) -> str:
    return f"{statistics['dataset']}, {statistics['frames']}, LR {statistics['imgsz_lr']} px"
