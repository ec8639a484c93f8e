"""Run the paper's ablations and the questions it leaves open: python run_all_ablations.py [--dry-run] [--only GLOB]."""

from __future__ import annotations

import argparse

from data_utils.command_line import overrides_last
from data_utils.errors import run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train and evaluate the runs of configs/ablations.yaml; what is finished is never repeated.",
        epilog="example: python run_all_ablations.py --only plain 'sr_*' --seeds 0 1 2",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the runs with their overrides, and stop")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="runs wanted, e.g. plain 'sr_*'")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training each (default: 0)")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each run (default: %(default)s)")
    parser.add_argument("--split", type=int, default=1, help="of runs without one of their own (default: %(default)s)")
    parser.add_argument("--config", default="configs/train.yaml", help="base settings (default: %(default)s)")
    parser.add_argument("--ablations", default="configs/ablations.yaml", help="the registry (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="here one by one, or on a cluster")
    parser.add_argument("--address", help="of the Ray cluster (default: one on this machine)")
    parser.add_argument("--cpus", type=int, help="cores of each run on the cluster (default: 2)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of all runs, below their own")
    return parser.parse_args(overrides_last())


def main() -> int:
    """List or run; returns 1 when a run failed, 75 when one stopped and can go on."""
    arguments = parse_arguments()
    from models.openmp import limit_spinning
    from training.ablation import Engine, run_all
    from training.ablations.plan import Asked

    limit_spinning()  # before torch is imported, here and in the processes of the runs
    asked = Asked(
        arguments.config,
        tuple(arguments.overrides),
        arguments.epochs,
        arguments.split,
        tuple(arguments.seeds),
        arguments.device,
    )
    engine = Engine(arguments.engine, arguments.address, arguments.cpus)
    return run_all(arguments.ablations, arguments.only, asked, engine, arguments.dry_run)


if __name__ == "__main__":
    run_command(main)
