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
    from data_utils.prepare_report import PrepareReport


def prepare(config: Config, *, workers: int | None = None, progress: bool = True) -> PrepareReport:
    """Prepare the data set that `config.dataset` describes; `workers` is the number of processes, by default all cores.

    Raises InputError for bad input (nothing is ever written into the raw folder) and ResumableError when an output
    folder cannot be written. Scripts that call this need the usual `if __name__ == "__main__":` guard.
    """
    from data_utils.preparation import Preparation  # here, so that --help does not wait for OpenCV and pydantic

    return Preparation(config).run(workers=workers, progress=progress)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m data_utils.prepare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: dataset.raw=/data/x")
    args = parser.parse_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")

    from data_utils.config import load_config

    report = prepare(load_config(args.config, args.overrides), workers=args.workers)
    next_command = ["python", "train.py", "--config", args.config, "--split", "1", *args.overrides]
    print(f"{report.text()}\n\nnext: {shlex.join(next_command)}")
    return 0


if __name__ == "__main__":
    run_command(main)
