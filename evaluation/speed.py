"""Speed and cost of a checkpoint: `python -m evaluation.speed --weights W`.

Frames a second of the network alone at each batch size (median, and what 5 % and 95 % of the passes stay below), the
time of pre- and post-processing, GFLOPs and parameters of the inference and of the training graph, the proof that
inference has no part of the SR branch, and its time beside the bare detector's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; write JSON where asked."""
    arguments = _parser().parse_args(sys.argv[1:] if argv is None else argv)
    if min(arguments.iters, *arguments.batch) < 1:
        raise InputError("--iters and --batch: whole numbers from 1")
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    report, record = measure(arguments)
    print(report)
    if arguments.json:
        from data_utils.files import write_text

        write_text(arguments.json, json.dumps(record, indent=1, allow_nan=False) + "\n")
        print(f"written: {arguments.json}")


def measure(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Return the tables as text, and the numbers as plain values."""
    from dataclasses import asdict

    from evaluation import cost
    from evaluation.report.text import format_table
    from models.checkpoint import load_model, pick_device

    model, config, meta = load_model(arguments.weights, pick_device(arguments.device))
    side, limit = config.imgsz_lr, arguments.max_seconds
    warmup, iters = arguments.warmup, arguments.iters
    speeds = [cost.measure_speed(model, side, warmup, iters, limit, size) for size in arguments.batch]
    steps = cost.measure_steps(model, side, n_iters=min(arguments.iters, 100), max_seconds=limit)
    counts = model.count_params()
    graphs = {
        name: {"gflops": cost.measure_gflops(model, side, training=name == "training"), "params": counts[key]}
        for name, key in (("inference", "backbone"), ("training", "total"))
    }
    proof = cost.prove_branch_free(model, cost.sample_frames(model, side))
    pairs = max(arguments.iters // 2, cost.LEAST_PAIRS)
    beside = cost.time_beside_detector(model, cost.sample_frames(model, side), pairs, min(arguments.warmup, 10), limit)
    record = {"weights": str(arguments.weights), "weights_sha256": meta["weights_sha256"],
              "speed": [asdict(speed) for speed in speeds], "steps": asdict(steps), "graphs": graphs,
              "branch_free": proof.holds, "branch_free_because": proof.sentence(),
              "beside_detector": asdict(beside)}  # fmt: skip
    speed_rows = [
        [str(s.batch_size), f"{s.fps:.1f}", f"{s.median_ms:.2f}", f"{s.p5_ms:.2f}", f"{s.p95_ms:.2f}", str(s.n_iters)]
        for s in speeds
    ]
    step_rows = [
        [name, *(f"{value:.2f}" for value in (step.median_ms, step.p5_ms, step.p95_ms))]
        for name, step in (("preprocess", steps.preprocess), ("network", steps.network),
                           ("postprocess", steps.postprocess))
    ]  # fmt: skip
    graph_rows = [[name, f"{row['gflops']:.2f}", f"{row['params']:,}"] for name, row in graphs.items()]
    width, height = steps.frame_size
    return "\n\n".join([
        f"{arguments.weights} at {side} px on {speeds[0].device}, {speeds[0].threads} threads: the network alone",
        format_table(["batch", "FPS", "median ms", "5 % below", "95 % below", "passes"], speed_rows),
        f"One frame of {width}x{height} px, step by step ({steps.n_detections} detections)",
        format_table(["step", "median ms", "5 % below", "95 % below"], step_rows),
        format_table(["forward pass", "GFLOPs", "parameters"], graph_rows),
        proof.sentence() + "\n" + beside.sentence(),
    ]), record  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.speed --weights results/runs/RUN/best.pt",
    )
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="batch sizes (default 1 8)")
    parser.add_argument("--warmup", type=int, default=50, help="passes before timing (default 50)")
    parser.add_argument("--iters", type=int, default=500, help="passes to time (default 500)")
    parser.add_argument("--max-seconds", type=float, default=None, help="end each timing early, after at least 10")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser


if __name__ == "__main__":
    run_command(main)
