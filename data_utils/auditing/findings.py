"""What an audit says: findings, one for each check of each split, and the pairs of frames behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
