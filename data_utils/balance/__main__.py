"""Training lists in which images of rare classes stand several times: splits/split<k>/train_balanced.txt.

    python -m data_utils.balance --config configs/train.yaml [--split N] [--cap 4] [--power 1.0] [key=value ...]

Only the training list is balanced, by lines and never by copied files; train on it with `dataset.balanced=true`.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from data_utils.balance import Rule, balance_split, prepared_splits
from data_utils.errors import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.balance",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.balance --config configs/bccd.yaml --cap 4",
    )
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--split", type=int, help="split number (default: every split)")
    parser.add_argument("--cap", type=int, default=4, help="times an image is listed at most (default: %(default)s)")
    parser.add_argument("--power", type=float, default=1.0,
                        help="a class is weighted by (1 / its frequency) ** POWER, above 0 and at most 1; 0.5 is the "
                        "square root, milder (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, help="of the rounding of fractional repeats (default: the config's seed)")
    parser.add_argument("--healthy", action="store_true", help="count frames without a box as a class of their own")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: dataset.splits=/x")
    args = parser.parse_intermixed_args(argv)
    if args.cap < 1:
        parser.error(f"--cap {args.cap}: at least 1")
    if not 0 < args.power <= 1:
        parser.error(f"--power {args.power:g}: above 0 and at most 1")
    if args.seed is not None and args.seed < 0:
        parser.error(f"--seed {args.seed}: at least 0")

    from data_utils.command_line import format_table
    from data_utils.config.loading import load_config

    config = load_config(args.config, args.overrides)
    rule = Rule(args.cap, args.power, config.seed if args.seed is None else args.seed, args.healthy)
    splits = prepared_splits(config.dataset) if args.split is None else [args.split]
    for split in splits:
        done = balance_split(config.dataset, split, rule)
        total = done.rows[-1]
        growth = int(total["images_after"]) / int(total["images_before"])
        print(f"split{split}: {total['images_before']} images -> {total['images_after']} lines ({growth:.2f} times)\n")
        print(format_table(done.rows), end="\n\n")
        print("".join(f"  note  {note}\n" for note in done.notes) + f"  list  {done.path}\n"
              f"  table {done.path.with_suffix('.csv')}\n")  # fmt: skip
    command = ["python", "train.py", "--config", args.config, "--split", str(splits[0]), *args.overrides]
    print(f"next: {shlex.join([*command, 'dataset.balanced=true'])}")
    return 0


if __name__ == "__main__":
    run_command(main)
