"""The outcome of an audit: its table, its one-line verdict, and the files under the results folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_utils.atomic import write_csv, write_text
from data_utils.auditing.contact_sheet import write_contact_sheet
from data_utils.auditing.findings import NOT_CHECKED, Finding, FramePair
from data_utils.dataset_section import AuditSection
from data_utils.text_table import format_table

JSON_FILE, PAIRS_FILE, SHEET_FILE = "audit.json", "audit_pairs.csv", "audit_pairs.png"
PAIR_COLUMNS = ("split", "kind", "part_a", "file_a", "part_b", "file_b", "likeness", "accepted")
SHOWN = 3  # messages of a check in the terminal
KEPT = 200  # in the JSON file
SEVERITIES = ("leak", "error", "warning", "note")  # the worst first


@dataclass(frozen=True)
class AuditReport:
    """What was found in the splits audited. n_frames: distinct frames; findings: one for each check, passed or not;
    pairs: of all splits, accepted ones included."""

    dataset: str
    splits: Sequence[str]
    n_frames: int
    settings: AuditSection
    findings: Sequence[Finding]
    pairs: Sequence[FramePair]

    @property
    def blocking(self) -> list[Finding]:
        """The findings for which training must not begin: leaks, then errors."""
        return sorted((f for f in self.findings if f.blocks), key=lambda f: f.severity != "leak")

    @property
    def has_leak(self) -> bool:
        """Whether one part tells about another."""
        return any(finding.severity == "leak" for finding in self.blocking)

    @property
    def n_warnings(self) -> int:
        """How many checks ended with a warning."""
        return sum(finding.verdict == "warning" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """Return "passed", "passed with N warnings", "leak" or "errors"."""
        if self.blocking:
            return "leak" if self.has_leak else "errors"
        return f"passed with {self.n_warnings} warnings" if self.n_warnings else "passed"

    def text(self) -> str:
        """Return the table of checks, and the first messages of those that found something."""
        lines = [f"{self.dataset}: {self.n_frames} frames in {', '.join(self.splits)}", "", format_table(self._rows())]
        for finding in self.findings:
            if finding.verdict == NOT_CHECKED:
                lines += ["", f"{finding.verdict}  {finding.scope}: {finding.check}: {finding.not_checked}"]
            if not finding.messages:
                continue
            lines += ["", f"{finding.verdict}  {finding.scope}: {finding.check}"]
            lines += [f"  {message}" for message in finding.messages[:SHOWN]]
            if finding.count > SHOWN:
                lines.append(f"  and {finding.count - SHOWN} more")
        return "\n".join([*lines, "", f"audit: {self.verdict}"])

    def complaint(self) -> str:
        """Return the one line that says what blocks training and how to mend it; only where something does."""
        worst = self.blocking[0]
        others = f" (and {len(self.blocking) - 1} more checks failed)" if len(self.blocking) > 1 else ""
        mend = f"; {worst.mend}" if worst.mend else ""
        where = "" if worst.scope == "all" else f"{worst.scope}: "
        return f"audit of {self.dataset}: {where}{worst.count} x {worst.check}, first {worst.messages[0]}{others}{mend}"

    def write(self, results_dir: str | Path) -> list[Path]:
        """Write audit.json, audit_pairs.csv and, where there are pairs, a sheet of them; return the files."""
        folder = Path(results_dir)
        write_text(folder / JSON_FILE, json.dumps(self._record(), indent=1, ensure_ascii=False) + "\n")
        write_csv(folder / PAIRS_FILE, PAIR_COLUMNS, map(asdict, self.pairs))
        files = [folder / JSON_FILE, folder / PAIRS_FILE]
        if self.pairs:
            return [*files, write_contact_sheet(folder / SHEET_FILE, self.pairs)]
        (folder / SHEET_FILE).unlink(missing_ok=True)  # of an audit before the leaks were mended
        return files

    def _rows(self) -> list[dict[str, str | int]]:
        """Return one row a check: what was found in each split, or, where the split does not matter, in all frames."""
        rows = []
        for check in dict.fromkeys(finding.check for finding in self.findings):
            found = [finding for finding in self.findings if finding.check == check]
            counts = {finding.scope: finding.count for finding in found}
            worst = min(found, key=_rank)
            cells = {scope: counts.get(scope, "") for scope in (*self.splits, "all")}
            rows.append({"check": check, **cells, "verdict": worst.verdict})
        return rows

    def _record(self) -> dict[str, Any]:
        checks = [
            {"split": f.scope, "check": f.check, "found": f.count, "verdict": f.verdict,
             "messages": list(f.messages[:KEPT]), **({"why": f.not_checked} if f.not_checked else {})}
            for f in self.findings
        ]  # fmt: skip
        return {
            "dataset": self.dataset,
            "splits": list(self.splits),
            "frames": self.n_frames,
            "verdict": self.verdict,
            "settings": self.settings.model_dump(mode="json", exclude={"known_pairs"}),
            "checks": checks,
        }


def _rank(finding: Finding) -> int:
    """Order findings of one check: the worst first, then what was not checked, then what is in order."""
    if finding.messages:
        return SEVERITIES.index(finding.severity)
    return len(SEVERITIES) + (finding.verdict != NOT_CHECKED)
