"""Check the split lists for leaks, labels and files that would spoil a study; training runs this by itself.

    python -m data_utils.audit --config configs/dataset.yaml [--split N] [key=value ...]

Exit code 2 when one part of a split tells about another (shared patients, equal files, copies, neighbouring video
frames) or something cannot be trained on. The table is printed, and kept with the pairs under the results folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_utils.errors import InputError, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from data_utils.auditing.audit_report import AuditReport
    from data_utils.auditing.findings import Finding
    from data_utils.auditing.parts import AuditedSplit
    from data_utils.config_sections import Config

SKIPPED = "skipped"  # what a run's record says after --skip-audit


def audit(
    config: Config, splits: Sequence[int] | None = None, *, workers: int | None = None, write: bool = True
) -> AuditReport:
    """Audit the splits numbered `splits` (default: all on disk) of `config.dataset`, with its external sets.

    Thumbnails are cached in <processed>/audit_cache.jsonl; without `write` that file is only read. Raises InputError
    when there is no split, ResumableError when a worker process dies. Scripts that call this need the usual
    `if __name__ == "__main__":` guard.
    """
    from pathlib import Path

    from data_utils.auditing.audit_report import AuditReport
    from data_utils.auditing.fingerprints import FILE_NAME, fingerprints
    from data_utils.auditing.leaks import find_leaks
    from data_utils.auditing.likeness import view
    from data_utils.auditing.parts import read_split, split_numbers

    dataset = config.dataset
    read = [read_split(dataset, number) for number in splits or split_numbers(dataset)]
    paths = list(dict.fromkeys(frame.path for split in read for frame in split.frames))
    prints = fingerprints(paths, Path(dataset.processed) / FILE_NAME, workers, write=write)
    views = {path: view(f.thumbnail) for path, f in prints.items() if f.thumbnail is not None}
    leaks = [find_leaks(split, dataset, prints, views, workers) for split in read]
    unreadable = [f.problem for f in prints.values() if f.problem]
    return AuditReport(
        dataset=dataset.name,
        splits=[split.name for split in read],
        n_frames=len(paths),
        settings=dataset.audit,
        findings=[*(f for found in leaks for f in found.findings), *_other_findings(config, read, unreadable)],
        pairs=[pair for found in leaks for pair in found.pairs],
    )


def _other_findings(config: Config, splits: Sequence[AuditedSplit], unreadable: Sequence[str]) -> list[Finding]:
    """Return the findings on lists, labels and files."""
    from data_utils.auditing.findings import Finding
    from data_utils.auditing.label_checks import SCOPE, check_labels, check_pairs

    frames = [frame for split in splits for frame in split.frames]
    why = "not read: dataset.labelled = false" if config.detects else f"not read: stages.train = {config.stages.train}"
    unread = Finding(SCOPE, "labels", "note", [why])
    return [
        *(Finding(split.name, "split lists", "error", split.problems) for split in splits),
        *(Finding(split.name, "sets without a manifest", "warning", split.unchecked) for split in splits),
        Finding(SCOPE, "unreadable frames", "error", unreadable),
        *(check_labels(frames, config.dataset) if config.detects and config.dataset.labelled else [unread]),
        *check_pairs(frames, config),
    ]


def require_clean(config: Config, split: int, *, write: bool = True, skippable: bool = True) -> str:
    """Audit one split before training; return "passed" or "passed with N warnings", for the run's record.

    What blocks training is raised as InputError in one line, and with `write` the report is left under the results
    folder. Without it nothing is written. skippable: whether the caller has the option --skip-audit.
    """
    report = audit(config, [split], write=write)
    if report.blocking:
        look = ""
        if write:
            look = f"; see {_listed(report.write(config.run.results_dir))}"
        raise InputError(f"{report.complaint()}{look}{'; --skip-audit trains all the same' if skippable else ''}")
    return report.verdict


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m data_utils.audit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="configs/train.yaml", help="names the data set (default: %(default)s)")
    parser.add_argument("--split", type=int, help="split number (default: all)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="laid over the config: dataset.name=x")
    args = parser.parse_intermixed_args(argv)
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: at least 1")

    from data_utils.config import load_config

    config = load_config(args.config, args.overrides)
    report = audit(config, None if args.split is None else [args.split], workers=args.workers)
    files = report.write(config.run.results_dir)
    print(f"{report.text()}\nwritten: {_listed(files)}")
    if report.blocking:
        raise InputError(report.complaint())
    return 0


if __name__ == "__main__":
    run_command(main)
