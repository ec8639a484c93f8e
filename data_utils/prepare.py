"""Raw frames -> everything training reads: filtered LR/HR copies, labels, manifest, filter log, split lists.

    python -m data_utils.prepare --config configs/dataset.yaml [key=value ...]

A rerun does only what changed. Interrupted, it leaves no half-written file and goes on when run again.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_utils.errors import run_command

if TYPE_CHECKING:
    from data_utils.config_sections import Config
    from data_utils.preparation.prepare_report import PrepareReport


def prepare(
    config: Config, *, workers: int | None = None, progress: bool = True, preview: bool = False
) -> PrepareReport:
    """Prepare the data set that `config.dataset` describes; `workers` is the number of processes, by default all cores.

    `preview` also writes an HTML page beside the filter log: every score's distribution, its threshold, and the frames
    just on both sides. Where dataset.raw is a zip archive, it is unpacked below dataset.processed first.
    Raises InputError for bad input (nothing is ever written into the raw folder) and ResumableError when an output
    folder cannot be written. Scripts that call this need the usual `if __name__ == "__main__":` guard.
    """
    # Here, so that --help does not wait for OpenCV and pydantic.
    from data_utils.preparation.run import Preparation, with_raw_folder

    return Preparation(with_raw_folder(config)).run(workers=workers, progress=progress, preview=preview)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m data_utils.prepare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("--preview", action="store_true", help="write an HTML page to judge the filter's thresholds by")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: dataset.raw=/data/x")
    args = parser.parse_intermixed_args(argv)  # key=value may stand anywhere
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")

    from data_utils.config import load_config

    report = prepare(load_config(args.config, args.overrides), workers=args.workers, preview=args.preview)
    print(report.text())
    if report.split_rows:  # an external test set has none, and its report says how to evaluate on it
        next_command = ["python", "train.py", "--config", args.config, "--split", "1", *args.overrides]
        print(f"\nnext: {shlex.join(next_command)}")
    return 0


if __name__ == "__main__":
    run_command(main)
