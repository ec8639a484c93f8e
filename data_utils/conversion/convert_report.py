"""What a conversion did, for the terminal, and the data set file it offers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data_utils.config import yaml_text
from data_utils.errors import Causes
from data_utils.formats.labelmap import mask_values


@dataclass(frozen=True, eq=False)
class ConvertReport:
    """What was converted. counts: frames, boxes, negative frames, and each harmless oddity, by name.

    per_class: boxes of each class, in the order of the class ids. shift: the most that a corner moved, in pixels, when
    the written labels were read back. unreadable: images left out, each with its reason. notes: sentences for the user.
    """

    source: Path
    source_format: str
    target: Path
    target_format: str
    per_class: dict[str, int]
    counts: Counter[str]
    shift: float
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """Return what .convert.json says about the conversion."""
        return {
            "made_by": "python -m data_utils.convert", "source": str(self.source), "from": self.source_format,
            "to": self.target_format, "names": list(self.per_class), "counts": dict(self.counts),
        }  # fmt: skip

    def dataset_yaml(self) -> str:
        """Return the data set file for `python -m data_utils.prepare`."""
        name = dataset_name(self.target)
        values: dict[str, object] = {
            "name": name, "raw": str(self.target), "processed": f"data/{name}/processed",
            "splits": f"data/{name}/splits", "filter_log": f"results/{name}_filter_log.csv",
            "format": self.target_format, "nc": len(self.per_class), "names": list(self.per_class),
        }  # fmt: skip
        if self.target_format == "labelmap":
            values["labelmap"] = {"values": mask_values(list(self.per_class))}
        return yaml_text(values, allow_unicode=True, default_flow_style=None, width=1 << 20)

    def text(self) -> str:
        """Return the report for the terminal."""
        main = ("frames", "boxes", "negative frames")
        lines = [f"{self.source} ({self.source_format}) -> {self.target} ({self.target_format})",
                 "  " + ", ".join(f"{self.counts[key]} {key}" for key in main),
                 "  boxes by class: " + ", ".join(f"{name} {count}" for name, count in self.per_class.items()),
                 f"  read back: every box is there, the farthest corner moved by {self.shift:.3g} pixels"]  # fmt: skip
        lines += [f"  {count} {what}" for what, count in sorted(self.counts.items()) if what not in main]
        lines += [f"  left out: {reason}" for reason in Causes(self.unreadable).texts()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def dataset_name(folder: Path) -> str:
    """Return a folder's name with only the characters that `dataset.name` allows."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.resolve().name).strip("_.-") or "converted"
