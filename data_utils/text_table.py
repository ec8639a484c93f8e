"""Rows of named values as aligned text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence


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
