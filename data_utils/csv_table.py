"""Reading tables that people write by hand or save from a spreadsheet."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import InputError


def read_table(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns that have a name, and (line number, {column: value}) of each line that is not empty.

    Fields are parted by "," or, where the header has none, by ";"; blanks around values do not count. Raises
    InputError, naming file and line, for a file that is no UTF-8 text or CSV, and where a column of `required` is
    missing or any stands twice.
    """
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))  # one name, one spelling
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 text file ({error})") from None
    header = text.partition("\n")[0]
    delimiter = ";" if ";" in header and "," not in header else ","
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter, strict=True, restval="",
                            skipinitialspace=True)  # fmt: skip
    try:
        columns = [(name or "").strip() for name in reader.fieldnames or []]
        missing = [name for name in required if name not in columns]
        named = [name for name in columns if name]  # spreadsheets leave columns without a name at the end
        if missing or len(set(named)) < len(named):
            raise InputError(f"{path}:1: needs the columns {', '.join(required)}, each column once; found: "
                             f"{', '.join(columns)[:200]}")  # fmt: skip
        reader.fieldnames = columns
        rows = []
        for fields in reader:
            if None in fields:
                raise InputError(f"{path}:{reader.line_num}: more fields than columns; quote values that hold a comma")
            rows.append((reader.line_num, {name: fields[name].strip() for name in named}))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.reader.line_num}: not a line of CSV ({error})") from None
    return named, [(number, row) for number, row in rows if any(row.values())]
