"""What each shape of the SR branch costs in training: `python -m evaluation.branch_cost [--save-csv]`.

The branch costs nothing at inference; in training its forward pass often outweighs the detector's many times over.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_utils.errors import run_command

COLUMNS = ("decoder", "upsampler", "width", "fusion_stride", "branch_params", "branch_gflops", "detector_gflops")
SHAPES = (("deep", "staged", 64), ("deep", "direct", 64), ("deep", "direct", 32), ("light", "staged", 64))
CSV = Path("results/studies/branch_cost.csv")


def branch_costs(config_path: str, imgsz: int) -> Iterator[dict[str, Any]]:
    """Yield parameters and forward GFLOPs (a multiply-add is two) of branch shapes on one frame of imgsz x imgsz."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from data_utils.config import load_config
    from evaluation.benchmark import measure_gflops
    from models.sre_yolo import SREYOLO

    for (decoder, upsampler, width), fusion_stride in itertools.product(SHAPES, (2, 4, 8)):
        shape = [f"sr_decoder={decoder}", f"model.upsampler={upsampler}", f"model.branch_width={width}"]
        model = SREYOLO(load_config(config_path, [*shape, f"model.fusion_stride={fusion_stride}"]))
        assert model.sr_branch is not None
        detector_gflops = measure_gflops(model, imgsz)
        channels, strides = model.backbone.get_hook_channels(), model.backbone.get_hook_strides()
        sides = {layer: imgsz // stride for layer, stride in strides.items()}
        taps = [torch.empty(1, channels[k], sides[k], sides[k], device="meta") for k in model.backbone.hook_layers]
        with FlopCounterMode(display=False) as counter:
            model.sr_branch.to("meta")(*taps)
        values = (model.count_params()["sr_branch"], counter.get_total_flops() / 1e9, detector_gflops)
        yield dict(zip(COLUMNS, (decoder, upsampler, width, fusion_stride, *values), strict=True))


def main() -> None:
    """Print the table, and write it as CSV if asked."""
    parser = argparse.ArgumentParser(description="Parameters and forward GFLOPs of every shape of the SR branch.")
    parser.add_argument("--config", default="configs/train.yaml", help="settings (default: %(default)s)")
    parser.add_argument("--imgsz", type=int, default=640, help="input side in pixels (default: %(default)s)")
    parser.add_argument("--save-csv", action="store_true", help=f"also write {CSV}")
    arguments = parser.parse_args()
    from data_utils.atomic import write_csv
    from evaluation.report import format_table

    rows = [
        {**row, **{name: f"{row[name]:.1f}" for name in ("branch_gflops", "detector_gflops")}}
        for row in branch_costs(arguments.config, arguments.imgsz)
    ]
    print(format_table(COLUMNS, [[str(row[name]) for name in COLUMNS] for row in rows]))
    if arguments.save_csv:
        write_csv(CSV, COLUMNS, rows)
        print(f"written: {CSV}")


if __name__ == "__main__":
    run_command(main)
