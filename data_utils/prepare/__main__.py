"""Raw frames -> everything training reads: filtered LR/HR copies, labels, manifest, filter log, split lists.

    python -m data_utils.prepare --config configs/dataset.yaml [key=value ...]

A rerun does only what changed. Interrupted, it leaves no half-written file and goes on when run again.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from data_utils.errors import run_command
from data_utils.prepare import prepare


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.prepare",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.prepare --config configs/demo.yaml --preview",
    )
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("--preview", action="store_true", help="write an HTML page to judge the filter's thresholds by")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: dataset.raw=/data/x")
    args = parser.parse_intermixed_args(argv)  # key=value may stand anywhere
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")

    from data_utils.config.loading import load_config

    report = prepare(load_config(args.config, args.overrides), workers=args.workers, preview=args.preview)
    print(report.text())
    if report.split_rows:  # an external test set has none, and its report says how to evaluate on it
        next_command = ["python", "train.py", "--config", args.config, "--split", "1", *args.overrides]
        print(f"\nnext: {shlex.join(next_command)}")
    return 0


if __name__ == "__main__":
    run_command(main)
