"""Check the split lists for leaks, labels and files that would spoil a study; training runs this by itself.

    python -m data_utils.audit --config configs/dataset.yaml [--split N] [key=value ...]

Exit code 2 when one part of a split tells about another (shared patients, equal files, copies, neighbouring video
frames) or something cannot be trained on. The table is printed, and kept with the pairs under the results folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_utils.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from data_utils.audit.frames import AuditedSplit
    from data_utils.audit.report import AuditReport, Finding
    from data_utils.config.sections import Config

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

    from data_utils.audit.frames import read_split, split_numbers
    from data_utils.audit.leaks import find_leaks
    from data_utils.audit.likeness import FILE_NAME, fingerprints, view
    from data_utils.audit.report import AuditReport

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
    from data_utils.audit.frames import SCOPE, check_labels, check_pairs
    from data_utils.audit.report import Finding

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
