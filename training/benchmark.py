"""How fast and how well we train, beside ultralytics' own trainer, on the same frames with the same augmentation.

    python -m training.benchmark [speed] [--sizes 320x8 640x16] [--rounds 3] [--compile] [--save FOLDER]
    python -m training.benchmark accuracy [--seeds 0 1 2] [--epochs 40] [--jobs 6] [--save FOLDER]
    python -m training.benchmark ledger | branches [--help]      the SR branch's price, and what cheaper ones give

speed measures in turn: ultralytics' trainer, ours without the branch, the bare steps (forward, loss, backward and
optimiser step on batches in memory), and the loader alone. accuracy trains both and scores both with our evaluation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.command_line import whole_from
from data_utils.errors import EXIT_FAULT, EXIT_OK, InputError, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] in (["ledger"], ["branches"]):
        from training.benchmarks.branch_command import main as measure_branch

        return measure_branch(argv)
    arguments = _parser().parse_args(argv)
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported, here and in the child processes
    from data_utils.config.loading import load_config
    from models.checkpoint import pick_device
    from training.dry_run import require_prepared

    config = load_config(arguments.config, arguments.set)
    require_prepared(config.dataset, arguments.split, arguments.config)
    if pick_device(arguments.device).type not in ("cpu", "cuda"):
        raise InputError(f"--device {arguments.device}: the benchmark runs on cpu or cuda")
    if arguments.what == "speed":
        from training.benchmarks.speed import run_speed

        failed = run_speed(
            config, arguments.split, arguments.device, arguments.sizes, rounds=arguments.rounds,
            epochs=arguments.epochs, limit=arguments.frames, seconds=arguments.seconds,
            with_compile=arguments.compile, precisions=arguments.precisions, save=arguments.save,
        )  # fmt: skip
        return EXIT_FAULT if failed else EXIT_OK
    from training.benchmarks.accuracy import run_accuracy

    failed = run_accuracy(
        config, arguments.split, arguments.device, arguments.seeds, epochs=arguments.epochs, jobs=arguments.jobs,
        save=arguments.save,
    )  # fmt: skip
    return EXIT_FAULT if failed else EXIT_OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m training.benchmark speed --rounds 1",
    )
    parser.add_argument("what", nargs="?", choices=("speed", "accuracy"), default="speed", help="default: %(default)s")
    parser.add_argument("--config", default="configs/bccd.yaml", help="a prepared set's (default: %(default)s)")
    parser.add_argument("--split", type=int, default=1, help="split number (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="settings of both sides")
    parser.add_argument("--epochs", type=whole_from(1), help="speed: a trainer's epochs in each round, the first of "
                        "them left out (default: 3, on CUDA 6); accuracy: of each training (default: the "
                        "config's)")  # fmt: skip
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write JSON and CSV there, after each measurement")
    speed = parser.add_argument_group("speed")
    speed.add_argument("--sizes", nargs="+", type=_size, default=[(320, 8)], metavar="SIDExBATCH",
                       help="sides in pixels and batch sizes (default: 320x8)")  # fmt: skip
    speed.add_argument("--rounds", type=whole_from(1), default=3, help="turns of each side (default: %(default)s)")
    speed.add_argument("--seconds", type=float, help="of bare steps and loading in a round (default: 6, on CUDA 2)")
    speed.add_argument(
        "--frames", type=whole_from(1), help="training frames used at most (default: all, in whole batches)"
    )
    speed.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"),
                       help="default: fp32 and native bf16 at the first size, the faster one at others")  # fmt: skip
    speed.add_argument("--compile", action="store_true", help="also with torch.compile (run.compile)")
    accuracy = parser.add_argument_group("accuracy")
    accuracy.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    accuracy.add_argument("--jobs", type=whole_from(1), default=1, help="trainings at a time (default: %(default)s)")
    return parser


def _size(text: str) -> tuple[int, int]:
    side, _, batch = text.partition("x")
    if not (side.isdigit() and batch.isdigit() and int(side) >= 32 and int(side) % 32 == 0 and int(batch) > 0):
        raise argparse.ArgumentTypeError(f"'{text}': write SIDExBATCH, the side a multiple of 32, such as 320x8")
    return int(side), int(batch)


if __name__ == "__main__":
    run_command(main)
