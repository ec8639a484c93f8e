"""Where the numbers come from: data and their audit, weights, settings, versions, hashes, commands and dates."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from evaluation.report import format_interval, format_value
from evaluation.reporting.parts import Folded, Part, Section, Table, Text
from evaluation.reporting.run_files import RunFiles, section
from evaluation.reporting.wording import counted

PACKAGES = ("torch", "torchvision", "ultralytics", "numpy", "scipy", "opencv-python", "pydantic")
COLUMNS = {
    **{name: name for name in ("part", "patients", "groups", "frames")},
    **{"lesion_frames": "with a box", "healthy_frames": "healthy"},
    **{name: name for name in ("boxes", "small", "medium", "large")},
}
NOT_RECORDED = "not recorded"


def data_section(files: RunFiles) -> Section:
    """Return what the data set holds and what its audit found."""
    dataset, split = files.dataset, files.record.get("split")
    name = dataset.get("name", NOT_RECORDED)
    parts: list[Part] = [Text(f"Data set {name}, scored on {files.record.get('data', NOT_RECORDED)}: "
                              f"{counted(files.metrics['n_frames'], 'frame')}, "
                              f"{counted(files.metrics['n_boxes'], 'true box')}. "
                              f"Grouped by {files.metrics['unit']}.")]  # fmt: skip
    rows = [row for row in files.summary if row["split"] == f"split{split}"]
    shown = [column for column in COLUMNS if rows and column in rows[0]]
    if rows:
        headers = [COLUMNS[column] for column in shown]
        cells = [[row[column] for column in shown] for row in rows]
        parts.append(Table(f"Split {split}; sizes in original pixels, below 32x32 and 96x96", headers, cells))
    else:
        parts.append(Text("The table of the split (summary.csv beside its lists) is not at hand."))
    return Section("data", "Data", [*parts, *_audit(files, split)])


def provenance_section(files: RunFiles) -> Section:
    """Return what is needed to have the same numbers again."""
    parts: list[Part] = [Table("What was measured, and with what", ["", "value"], _facts(files))]
    if files.others:
        parts.append(_others(files.others))
    if files.config:
        settings = yaml.safe_dump(_without_names(files.config), sort_keys=False, allow_unicode=True)
        parts.append(Folded("All settings", text=settings))
    else:
        parts.append(Text("The settings are not recorded."))
    return Section("provenance", "How to have these numbers again", parts)


def ledger_words(files: RunFiles) -> str:
    """Say how often this list was scored; the more often, the less its numbers are worth."""
    if files.scorings is not None and files.scorings.n_scorings:
        return (f"{files.scorings.sentence()} Each further look at a test list, followed by a change, makes its "
                "numbers more optimistic.")  # fmt: skip
    noted = [note for note in files.record.get("notes", []) if note.startswith("This list has been scored")]
    if noted:
        return noted[0]
    if files.about.get("data") in ("val", "val_healthy", "train"):
        return "These frames are for choosing: they are scored in every epoch, and numbers on them are optimistic."
    return "How often this list was scored is not known: the ledger is not at hand."


def _facts(files: RunFiles) -> list[list[str]]:
    """Return (what, value) rows."""
    record, about, run = files.record, files.about, files.run
    evaluated = files.last_scoring or {}
    written = datetime.fromtimestamp(files.record_file.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    rows = {
        "weights": record.get("weights"),
        "weights, SHA-256": record.get("weights_sha256"),
        "epoch of the weights": record.get("epoch"),
        "list of frames, hash": about.get("list_sha256"),
        "true boxes, hash": about.get("truth_sha256"),
        "settings, hash": about.get("config_sha256"),
        "settings of the training, hash": run.get("config_hash"),
        "evaluation command": record.get("command") or evaluated.get("command"),
        "evaluated": record.get("time") or evaluated.get("time") or f"{written} (date of the file)",
        "training command": shlex.join(map(str, run.get("command", []))),
        "training began": run.get("started"),
        "training machine": " ".join(str(run[key]) for key in ("machine", "device", "precision") if key in run),
        "training versions": _versions({key: run[key] for key in ("python", "torch") if key in run}),
        "versions where this page was drawn": _versions(_installed()),
    }
    return [[name, NOT_RECORDED if value in (None, "", []) else str(value)] for name, value in rows.items()]


def _installed() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings without the frames that dataset.audit.known_pairs names: a name may hold a patient's id."""
    dataset = section(config, "dataset")
    audit = section(dataset, "audit")
    if not audit.get("known_pairs"):
        return dict(config)
    hidden = f"{len(audit['known_pairs'])}, names left out"
    return {**config, "dataset": {**dataset, "audit": {**audit, "known_pairs": hidden}}}


def _versions(versions: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _audit(files: RunFiles, split: Any) -> list[Part]:
    """Return the audit's verdict and its checks on this split; messages stay in audit.json, for they name files."""
    verdict = files.audit_verdict
    if not verdict:
        return [Text("No audit of this data set lies beside the results (audit.json): whether its parts leak is not "
                     "known. `python -m data_utils.audit` writes one.", is_warning=True)]  # fmt: skip
    checks = [check for check in files.audit.get("checks", []) if check.get("split") in (f"split{split}", "all")]
    rows = [[str(check.get("check")), format_value(check.get("found")), str(check.get("verdict"))] for check in checks]
    moment = "" if files.audit else ", before the training"
    words = Text(f"Leakage and label audit{moment}: {verdict}.", is_warning=not verdict.startswith("passed"))
    return [words, Table("Checks of the audit on this split", ["check", "found", "verdict"], rows)] if rows else [words]


def _others(records: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for record in records:
        metrics = record.get("metrics")
        if isinstance(metrics, dict):
            interval = format_interval(metrics.get("intervals", {}).get("ap50"))
            cells = [str(record.get("weights", "")), str(record.get("epoch")), format_value(metrics.get("n_frames"))]
            rows.append([str(record.get("data")), *cells, f"{format_value(metrics.get('ap50'))} {interval}".strip()])
    return Table("Other evaluations in this folder", ["data", "weights", "epoch", "frames", "AP50"], rows)
