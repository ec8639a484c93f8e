"""AP50 against frames per second, drawn from the saved table."""

from __future__ import annotations

import csv
from pathlib import Path


def draw(table_csv: Path, out_png: Path) -> None:
    """Draw one point for each backend and precision that was measured; redrawing needs nothing but the table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with table_csv.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fps"] and row["ap50"]]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    markers = {"fp32": "o", "fp16": "s", "bf16": "D", "int8": "^"}
    for position, row in enumerate(rows):
        x, y = float(row["fps"]), float(row["ap50"])
        axes.plot(x, y, markers.get(row["precision"], "x"), markersize=8)
        axes.annotate(f"{row['backend']} {row['precision']}", (x, y), textcoords="offset points", fontsize=8,
                      xytext=(6, 5 + 11 * (position % 4)))  # steps, so that near points can be told apart
    axes.set(xlabel="frames per second (resize, network, NMS)", ylabel="AP50 on the validation list")
    axes.grid(alpha=0.3)
    axes.margins(x=0.18, y=0.18)
    out_png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(str(out_png), dpi=110)
