"""What `prepare` did, and the summary it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_utils.splitting.split_report import format_splits


@dataclass(frozen=True)
class PrepareReport:
    """Counts of frames unless said otherwise.

    excluded: by reason; a frame counts under each it has. read_counts: what the reader counted (boxes clipped,
    dropped...). image_notes: frames that were converted on decoding, by conversion. split_rows: see
    split_report.summary_rows. files: what was written, by title.
    """

    name: str
    n_read: int
    n_kept: int
    n_written: int
    n_reused: int
    n_labels_written: int
    n_removed: int
    n_native: int
    n_upsampled: int
    n_boxes: int
    excluded: Mapping[str, int]
    read_counts: Mapping[str, int]
    image_notes: Mapping[str, int]
    split_rows: Sequence[Mapping[str, str | float]]
    notes: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def n_excluded(self) -> int:
        """Frames read and not kept."""
        return self.n_read - self.n_kept

    def text(self) -> str:
        """Return the summary for a terminal."""
        several = " (some for several reasons)" if sum(self.excluded.values()) > self.n_excluded else ""
        lines = [
            f"{self.name}: {self.n_read} frames read, {self.n_kept} kept with {self.n_boxes} boxes, "
            f"{self.n_excluded} excluded{several}",
            f"  copies     {self.n_written} written, {self.n_reused} reused, {self.n_removed} removed; "
            f"{self.n_labels_written} label files changed",
            f"  HR copies  {self.n_native} native, {self.n_upsampled} upsampled",
        ]
        for title, counts in (
            ("excluded", self.excluded),
            ("read", self.read_counts),
            ("converted", self.image_notes),
        ):
            lines += [f"  {title:<9}  {number} {what}" for what, number in counts.items() if number]
        lines += [f"  note       {note}" for note in self.notes]
        lines += ["", format_splits(self.split_rows), ""] if self.split_rows else [""]
        lines += [f"  {title:<11}{path}" for title, path in self.files.items()]
        return "\n".join(lines)
