"""What several commands' argument lists share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def overrides_last(arguments: Sequence[str] | None = None) -> list[str]:
    """Return a command's arguments (default: this process's) with key=value words moved behind all options.

    An option of several values would take them otherwise: `--seeds 0 1 lr0=0.01`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    overrides = [word for word in words if _OVERRIDE.match(word)]
    return [*(word for word in words if not _OVERRIDE.match(word)), "--", *overrides]


def whole_from(least: int) -> Callable[[str], int]:
    """Return a `type` for argparse: a whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': a whole number from {least}")
        return int(text)

    return read


# Rows of named values as aligned text.


def format_table(
    rows: Sequence[Mapping[str, str | float]], heading: Callable[[str], str] = lambda name: name.replace("_", " ")
) -> str:
    """Lay rows out as aligned text, words to the left and numbers to the right; nothing without rows.

    The columns are those of the first row; `heading` makes their titles of their names.
    """
    if not rows:
        return ""
    columns = list(rows[0])
    cells = [[heading(name) for name in columns]]
    cells += [[str(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    is_word = [isinstance(rows[0][name], str) for name in columns]
    aligned = (
        "  ".join(c.ljust(w) if word else c.rjust(w) for c, w, word in zip(line, widths, is_word, strict=True))
        for line in cells
    )
    return "\n".join(line.rstrip() for line in aligned)
