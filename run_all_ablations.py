"""Run the paper's ablations one after another: python run_all_ablations.py [--dry-run] [--only GLOB]."""

from __future__ import annotations

import argparse
import fnmatch
import sys

from data_utils.errors import InputError, InterruptedRun, run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train and evaluate the 14 runs of the paper's Tables 4 to 8.")
    parser.add_argument("--dry-run", action="store_true", help="list the runs with their overrides, and stop")
    parser.add_argument("--only", default="*", metavar="GLOB", help="names of the runs wanted, e.g. 'sr_*'")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of each run (default: %(default)s)")
    parser.add_argument("--split", type=int, default=1, help="split number (default: %(default)s)")
    parser.add_argument("--config", default="configs/train.yaml", help="base settings (default: %(default)s)")
    parser.add_argument("--ablations", default="configs/ablations.yaml", help="the registry (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    """List or run; returns 1 when a run that could be trained failed."""
    arguments = parse_arguments()
    from data_utils.config import load_config
    from models.openmp import limit_spinning
    from training.ablation import describe, is_done, read_ablations, run_ablation, write_summary
    from training.dry_run import require_prepared

    registry = read_ablations(arguments.ablations, arguments.config)
    runs = {name: run for name, run in registry.items() if fnmatch.fnmatch(name, arguments.only)}
    if not runs:
        raise InputError(f"--only {arguments.only}: matches none of {', '.join(registry)}")
    if arguments.dry_run:
        print(describe(runs))
        return 0
    config = load_config(arguments.config)
    require_prepared(config.dataset, arguments.split, arguments.config)
    limit_spinning()  # before torch is imported
    states = {}
    for name, run in runs.items():
        overrides = [*run.overrides, f"epochs={arguments.epochs}"]
        if is_done(name, overrides, arguments.split, config.run.results_dir):
            states[name] = "done before"
        elif run.needs:
            states[name] = f"skipped: needs {run.needs}"
        else:
            where = {"config_path": arguments.config, "split": arguments.split, "device": arguments.device}
            try:
                run_ablation(name, overrides, **where)
                states[name] = "done"
            except InterruptedRun:
                raise  # Ctrl-C is for all of them
            except (InputError, RuntimeError) as error:  # the other runs go on; the summary says why this one did not
                states[name] = f"failed: {error}"
        print(f"{name}: {states[name]}", file=sys.stderr if states[name].startswith("failed") else sys.stdout)
    print(f"written: {write_summary(runs, states, config.run.results_dir)}")
    return int(any(state.startswith("failed") for state in states.values()))


if __name__ == "__main__":
    run_command(main)
