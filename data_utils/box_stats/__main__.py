"""Box sizes of a data set: clusters for each detection stride, size buckets, aspect ratios, and whether P2 is needed.

    python -m data_utils.box_stats --config configs/train.yaml [--split N] [--data train|all] [key=value ...]

Writes box_stats.yaml, boxes.csv (a line for each box) and three pictures drawn from them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from data_utils.box_stats import box_statistics, report
from data_utils.errors import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.box_stats",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.box_stats --config configs/demo.yaml",
    )
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--split", type=int, default=1, help="whose training list is read (default: %(default)s)")
    parser.add_argument("--data", choices=("train", "all"), default="train",
                        help="that list, or every prepared frame (default: %(default)s)")  # fmt: skip
    parser.add_argument("--clusters", type=int, default=9, help="number of size clusters (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the clustering's starts (default: the config's seed)")
    parser.add_argument("--out", type=Path, help="folder to write (default: <run.results_dir>/box_stats)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: imgsz_lr=320")
    args = parser.parse_intermixed_args(argv)
    if args.clusters < 1:
        parser.error(f"--clusters {args.clusters}: at least 1")
    if args.seed is not None and args.seed < 0:
        parser.error(f"--seed {args.seed}: at least 0")

    from data_utils.config.loading import load_config

    config = load_config(args.config, args.overrides)
    out = args.out or Path(config.run.results_dir) / "box_stats"
    seed = config.seed if args.seed is None else args.seed
    split = None if args.data == "all" else args.split
    print(report(box_statistics(config, split, args.clusters, seed, out)))
    for name in ("box_stats.yaml", "boxes.csv", "sizes.png", "sides.png", "aspect_ratios.png"):
        print(f"  {out / name}")
    return 0


if __name__ == "__main__":
    run_command(main)
