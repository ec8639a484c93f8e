"""Check the split lists for leaks, labels and files that would spoil a study; training runs this by itself.

    python -m data_utils.audit --config configs/dataset.yaml [--split N] [key=value ...]

Exit code 2 when one part of a split tells about another (shared patients, equal files, copies, neighbouring video
frames) or something cannot be trained on. The table is printed, and kept with the pairs under the results folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from data_utils.audit import _listed, audit
from data_utils.errors import InputError, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.audit",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.audit --config configs/demo.yaml",
    )
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--split", type=int, help="split number (default: all)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: dataset.name=x")
    args = parser.parse_intermixed_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")

    from data_utils.config.loading import load_config

    config = load_config(args.config, args.overrides)
    report = audit(config, None if args.split is None else [args.split], workers=args.workers)
    files = report.write(config.run.results_dir)
    print(f"{report.text()}\nwritten: {_listed(files)}")
    if report.blocking:
        raise InputError(report.complaint())
    return 0


if __name__ == "__main__":
    run_command(main)
