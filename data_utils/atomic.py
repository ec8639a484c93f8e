"""Text files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def write_text(path: str | Path, text: str) -> bool:
    """Write `text` as UTF-8 with "\\n" line ends, making parent folders; a file that already says so is not touched.

    Returns whether the file changed. Raises OSError when the folder cannot be written; an older file then stays whole.
    """
    path = Path(path)
    content = text.encode("utf-8")
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".tmp-{os.getpid()}-{threading.get_ident()}"  # short: long names stay writable
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> bool:
    """Write rows as CSV with a header line; see `write_text`."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, buffer.getvalue())
