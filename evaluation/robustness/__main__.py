"""How far a detector bears bad frames and other sources: `python -m evaluation.robustness --weights W`.

AP50, false alarms a frame and sensitivity on the clean frames, under blur, glare, under- and over-exposure, noise, JPEG
compression and colour cast at five severities (data_utils/imaging/corruptions.py), and on each source alone and on all
but it, each with the paired change and a patient-level interval. The table, as JSON, CSV and one picture, goes into the
run's folder. The validation list is the default: a test list is spent a little each time, and the ledger says so.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.command_line import overrides_last
from data_utils.errors import InputError, run_command


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, run what is not stored yet, print the table and name the files."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(overrides_last(given))
    from models.openmp import limit_spinning

    limit_spinning()  # before torch is imported
    from evaluation.robustness.passes import CORRUPTIONS, SEVERITIES, SOURCES, run_study

    if unknown := sorted(set(arguments.only) - {*CORRUPTIONS, SOURCES}):
        raise InputError(f"--only {unknown[0]}: choose among {', '.join([*CORRUPTIONS, SOURCES])}")
    if wrong := sorted(set(arguments.severities) - set(SEVERITIES)):
        raise InputError(f"--severities {wrong[0]}: they go from {SEVERITIES[0]} to {SEVERITIES[-1]}")
    study = run_study(
        arguments.weights,
        split=arguments.split,
        data=arguments.data,
        device_name=arguments.device,
        config_path=arguments.config,
        overrides=arguments.overrides,
        only=arguments.only,
        severities=sorted(set(arguments.severities)),
        command=shlex.join(["python", "-m", "evaluation.robustness", *given]),
        report=lambda line: print(line, file=sys.stderr),
    )
    print(study.report)
    for path in study.files:
        print(f"written: {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.robustness --weights results/runs/RUN/best.pt",
    )
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint")
    parser.add_argument("--split", type=int, default=1, help="number of the hold-out split (default 1)")
    parser.add_argument("--data", default="val", help="val (default), test, train or an external set")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="kinds of corruption, or sources")
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="N", help="1 to 5")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--config", help="take the data set from this config instead of the checkpoint's")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as eval.resamples=500")
    return parser


if __name__ == "__main__":
    run_command(main)
