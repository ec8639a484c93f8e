"""Measure a checkpoint: AP by size, precision, recall, SR quality, speed and cost, beside the paper's values."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from data_utils.errors import InputError, run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="example: python evaluate.py --weights results/runs/RUN/best.pt --split 1",
    )
    parser.add_argument("--weights", help="checkpoint; default: weights/best_split<N>.pt")
    parser.add_argument("--split", type=int, default=1, help="number of the hold-out split (default 1)")
    parser.add_argument("--data", default="test", help="test, val, train, {test,val}_healthy or an external set")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--config", help="take the data set from this config instead of the checkpoint's")
    parser.add_argument("--no-report", action="store_true", help="do not write report.html, the page about the run")
    parser.add_argument("--save-csv", action="store_true", help="also write the numbers as CSV, beside the JSON")
    parser.add_argument("--fps-iters", type=int, help="passes to time (default: run.fps_iters, 500)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as eval.nms_iou=0.6")
    return parser.parse_intermixed_args()


def main() -> None:
    """Evaluate, print the table and name the files written."""
    arguments = parse_arguments()
    weights = find_weights(arguments.weights, arguments.split)
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    from evaluation.evaluation_run import evaluate_checkpoint

    outcome = evaluate_checkpoint(
        weights,
        split=arguments.split,
        data=arguments.data,
        device_name=arguments.device,
        config_path=arguments.config,
        overrides=arguments.overrides,
        save_csv=arguments.save_csv,
        fps_iters=None if arguments.fps_iters is None else max(1, arguments.fps_iters),
        progress=sys.stderr.isatty(),
    )
    print(outcome.report)
    for path in outcome.files:
        print(f"written: {path}")
    if not arguments.no_report:
        from evaluation.html_report import write_report

        print(f"written: {write_report(outcome.files[0])}")


def find_weights(asked: str | None, split: int) -> Path:
    """Return the weights file asked for, or the best one of the split; raises InputError when there is none."""
    if asked is not None:
        return Path(asked)
    default = Path("weights") / f"best_split{split}.pt"
    if not default.is_file():
        raise InputError(
            f"{default}: no such weights file; name a checkpoint with --weights, or train one: "
            f"`python train.py --split {split}` on your own data, `make demo` without any"
        )
    return default


if __name__ == "__main__":
    run_command(main)
