"""The command line of the branch's price: `python -m training.benchmark ledger` and `... branches`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_utils.command_line import whole_from

COMMANDS = ("ledger", "branches")
GROUPS = ("all", "whole", "cheaper")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ledger` or `branches` with their arguments; bad input raises InputError."""
    arguments = parser().parse_args(argv)
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported, here and in the child processes
    import torch

    from data_utils.config.loading import load_config
    from evaluation.cost import describe_machine
    from models.checkpoint import pick_device

    config = load_config(arguments.config, arguments.set)
    notes = describe_machine(torch.device(pick_device(arguments.device)), "training.benchmark")
    where = (config, arguments.split, arguments.device)
    if arguments.what == "ledger":
        from training.benchmarks.branch_ledger import SHAPES, run_ledger

        run_ledger(*where, steps=arguments.steps, turns=arguments.turns, row_seconds=arguments.row_seconds,
                   shapes=SHAPES[arguments.shapes], notes=notes, save=arguments.save)  # fmt: skip
    else:
        from training.benchmarks.branch_study import VARIANTS, run_branch_study

        run_branch_study(*where, variants=arguments.variants or tuple(VARIANTS), seeds=arguments.seeds,
                         epochs=arguments.epochs, jobs=arguments.jobs, seconds=arguments.seconds, notes=notes,
                         save=arguments.save)  # fmt: skip
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of both commands."""
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--config", default="configs/bccd.yaml", help="a prepared set's (default: %(default)s)")
    both.add_argument("--split", type=int, default=1, help="split number (default: %(default)s)")
    both.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    both.add_argument("--set", nargs="+", default=[], metavar="key=value", help="settings of every row")
    both.add_argument("--save", type=Path, metavar="FOLDER", help="write CSV and JSON there")
    whole = argparse.ArgumentParser(prog="python -m training.benchmark", description=__doc__)
    commands = whole.add_subparsers(dest="what", required=True)
    ledger = commands.add_parser("ledger", parents=[both], help="cost and signal of every branch shape",
                                 description="Parameters, GFLOPs, step time, memory, PSNR and gradient at the taps of "
                                             "every branch shape, one row at a time.")  # fmt: skip
    ledger.add_argument(
        "--steps", type=whole_from(0), default=100, help="of training before PSNR (default: %(default)s)"
    )
    ledger.add_argument("--turns", type=whole_from(0), default=5, help="timed turns of each side (default: "
                        "%(default)s; with --steps 0 --turns 0 only parameters and GFLOPs are counted)")  # fmt: skip
    ledger.add_argument("--row-seconds", type=float, default=300.0, help="limit of a row (default: %(default)s)")
    ledger.add_argument("--shapes", choices=GROUPS, default="all", help="default: %(default)s")
    study = commands.add_parser("branches", parents=[both], help="train several branches to a flat PSNR curve",
                                description="Train detectors with several branches on the same frames; compare PSNR "
                                            "and AP, small objects apart.")  # fmt: skip
    study.add_argument("--variants", nargs="+", help="default: all")
    study.add_argument("--seeds", nargs="+", type=int, default=[42], help="default: 42")
    study.add_argument("--epochs", type=whole_from(1), help="default: the config's")
    study.add_argument("--jobs", type=whole_from(1), default=1, help="trainings at a time (default: %(default)s)")
    study.add_argument("--seconds", type=float, default=3600.0, help="limit of a training (default: %(default)s)")
    return whole
