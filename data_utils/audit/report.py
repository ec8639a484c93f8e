"""The outcome of an audit: its table, its one-line verdict, and the files under the results folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.command_line import format_table
from data_utils.config.sections import AuditSection
from data_utils.files import write_csv, write_text
from data_utils.imaging.images import UnreadableImage, read_bgr, write_image

# What an audit says: findings, one for each check of each split, and the pairs of frames behind them.


Severity = Literal["leak", "error", "warning", "note"]
NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check. scope: the split, or "all" for what does not depend on it. messages: one for each
    thing found, where and what; none means the check passed. severity: what it means if there are any. mend: how to put
    it right."""

    scope: str
    check: str
    severity: Severity
    messages: Sequence[str]
    mend: str = ""
    not_checked: str = ""  # why the check was not made; it then found nothing, which says nothing

    @property
    def count(self) -> int:
        """How many things were found."""
        return len(self.messages)

    @property
    def verdict(self) -> str:
        """One word for the table: ok, or the severity, in capitals where it stops training, or "not checked"."""
        if self.not_checked and not self.messages:
            return NOT_CHECKED
        if not self.messages:
            return "ok"
        return self.severity.upper() if self.blocks else self.severity

    @property
    def blocks(self) -> bool:
        """Whether training must not begin."""
        return bool(self.messages) and self.severity in ("leak", "error")


@dataclass(frozen=True)
class FramePair:
    """Two frames of different parts that should not be apart. likeness: 1 for equal bytes. accepted: the reason that
    dataset.audit.known_pairs gives, "" for a leak."""

    split: str
    kind: str
    part_a: str
    file_a: str
    part_b: str
    file_b: str
    likeness: float
    accepted: str = ""

    def __str__(self) -> str:
        return f"{self.part_a}/{_name(self.file_a)} ~ {self.part_b}/{_name(self.file_b)} ({self.likeness:.2f})"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


# A picture of look-alike pairs side by side, so that somebody can see whether they are copies.


MOST_PAIRS = 20
COLUMNS = 2  # pairs in a row
SIDE, CAPTION, GAP = 240, 34, 12  # pixels
INK, FAINT, PAPER = (30, 30, 30), (120, 120, 120), 255
FONT, LETTERS = cv2.FONT_HERSHEY_SIMPLEX, 38  # letters that fit over one frame


def write_contact_sheet(path: Path, pairs: Sequence[FramePair]) -> Path:
    """Draw up to 20 pairs, the leaks before the accepted ones, and write the picture; returns `path`."""
    distinct = {(pair.file_a, pair.file_b): pair for pair in reversed(pairs)}  # the same pair may be in many splits
    chosen = sorted(distinct.values(), key=lambda pair: (bool(pair.accepted), -pair.likeness))[:MOST_PAIRS]
    cells = [_cell(pair) for pair in chosen]
    cells += [np.full_like(cells[0], PAPER)] * (-len(cells) % COLUMNS)
    rows = [np.hstack(cells[i : i + COLUMNS]) for i in range(0, len(cells), COLUMNS)]
    write_image(path, np.vstack(rows))
    return path


def _cell(pair: FramePair) -> NDArray[np.uint8]:
    """Draw one pair with a caption over each frame."""
    height, width = CAPTION + SIDE + GAP, 2 * SIDE + 2 * GAP
    cell = np.full((height, width, 3), PAPER, dtype=np.uint8)
    about = f"{pair.kind} {pair.likeness:.2f}{' (accepted)' if pair.accepted else ''}"
    for index, (part, file, second_line) in enumerate(
        [(pair.part_a, pair.file_a, about), (pair.part_b, pair.file_b, pair.split)]
    ):
        x = index * (SIDE + GAP // 2)
        cell[CAPTION : CAPTION + SIDE, x : x + SIDE] = _picture(file)
        _write(cell, f"{part}: {Path(file).name}", (x, 13), INK)
        _write(cell, second_line, (x, 28), FAINT)
    return cell


def _picture(file: str) -> NDArray[np.uint8]:
    try:
        bgr = read_bgr(file).bgr
    except UnreadableImage:
        return np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)  # the report names it among the unreadable frames
    return np.asarray(cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _write(cell: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()  # OpenCV's letters
    short = plain if len(plain) <= LETTERS else "..." + plain[3 - LETTERS :]
    cv2.putText(cell, short, place, FONT, 0.36, colour, 1, cv2.LINE_AA)


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
