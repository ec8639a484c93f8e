"""Train SRE-YOLO on one split: python train.py --split 1 [--config FILE] [key=value ...]."""

from __future__ import annotations

import argparse

from data_utils.errors import run_command


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Train SRE-YOLO on one split of a prepared data set.",
        epilog="example: python train.py --config configs/recommended.yaml --split 1",
    )
    parser.add_argument("--config", default="configs/train.yaml", help="settings (default: %(default)s, as published)")
    parser.add_argument("--split", type=int, help="split number (default: 1; with --resume RUN: the run's)")
    parser.add_argument("--weights", help="initial detector weights, overriding `pretrain`")
    parser.add_argument("--resume", nargs="?", const="newest", metavar="RUN", help="go on with a run (default: newest)")
    parser.add_argument("--accept-changes", action="store_true", help="resume although settings, data or code changed")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--wandb-off", action="store_true", help="no Weights & Biases log")
    parser.add_argument("--skip-audit", action="store_true", help="train without looking for leaks between the parts")
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained on, and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as lr0=1e-3")
    arguments = parser.parse_intermixed_args()
    if arguments.weights and arguments.resume is not None:
        parser.error("--weights: a resumed run goes on with its own weights; leave out --weights or --resume")
    return arguments


def main() -> None:
    """Train, or say what would be trained on."""
    arguments = parse_arguments()
    from data_utils.audit import SKIPPED, require_clean
    from data_utils.config.loading import load_config
    from training.dry_run import describe_run, rehearse, require_prepared

    if arguments.resume is not None:
        from training.run.folder import resumed_run

        run_dir, config, split = resumed_run(arguments.resume, arguments.config, arguments.split, arguments.overrides)
    else:
        run_dir, split = None, arguments.split if arguments.split is not None else 1
        config = load_config(arguments.config, arguments.overrides)
    require_prepared(config.dataset, split, arguments.config)
    audited = SKIPPED if arguments.skip_audit else require_clean(config, split, write=not arguments.dry_run)
    if arguments.dry_run:
        print(f"audit    {audited}", flush=True)
        rehearse(config, arguments.weights, arguments.device, run_dir, anew=arguments.accept_changes)
        origin = f"those of {run_dir}" if run_dir else arguments.weights
        print(describe_run(config, split, origin, resumed=run_dir is not None))
        return

    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    from training.distributed import is_main, say
    from training.run.folder import add_to_record
    from training.stage_runs import run_stages
    from training.tasks.branch import trainer_class

    say(f"audit    {audited}")
    how = {"device": arguments.device, "wandb_off": arguments.wandb_off}
    if run_dir is None:
        run_stages(config, arguments.weights, **how, skip_audit=arguments.skip_audit)
    trainer = trainer_class(config)(
        config, split, arguments.weights, resume=run_dir, accept_changes=arguments.accept_changes, **how
    )
    if is_main():  # the other processes may not even see the run folder
        add_to_record(trainer.run_dir, audit=audited)
    say(trainer.describe())
    result = trainer.fit()
    if is_main():
        say(trainer.closing_lines(result))


if __name__ == "__main__":
    run_command(main)
