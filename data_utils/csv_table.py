"""Reading tables that people write by hand or save from a spreadsheet: metadata.csv, and lists and truth of videos."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import InputError

DELIMITERS = ",;\t|"  # spreadsheets in many languages write ";"


def read_table(path: Path, required: Sequence[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns that have a name, and (line number, {column: value}) of each line that is not empty.

    Fields are parted by the one of DELIMITERS that finds most of `required`, then most columns, in the whole header,
    or by what a first line `sep=;` says; blanks around values do not count. Text is UTF-8, or UTF-16 with its mark.
    Raises InputError, naming file and line, for a file that is no such text or no CSV, and where a column of `required`
    is missing or any stands twice.
    """
    text, skipped, delimiter = _without_separator_line(_read_text(path))
    delimiter = delimiter or _delimiter_of(text, required)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(path, 1 + skipped, columns, required)
        rows = []
        for fields in reader:
            number = reader.line_num + skipped
            if len(fields) > len(columns):
                raise InputError(f"{path}:{number}: more fields than columns; quote values that hold {delimiter!r}")
            values = [value.strip() for value in fields] + [""] * (len(columns) - len(fields))
            if any(values):  # spreadsheets end in lines of nothing but separators
                named = zip(columns, values, strict=True)
                rows.append((number, {name: value for name, value in named if name}))
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num + skipped}: not a line of CSV ({error})") from None
    return [name for name in columns if name], rows  # spreadsheets leave columns without a name at the end


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 text file ({error}); see dataset.metadata") from None
    return unicodedata.normalize("NFC", text)  # one name, one spelling


def _without_separator_line(text: str) -> tuple[str, int, str | None]:
    """Return the text without Excel's first line `sep=;`, how many lines that took, and what it says."""
    first, _, rest = text.partition("\n")
    said = first.strip("\r\ufeff \"")
    if said[:4].lower() == "sep=" and len(said) == 5:
        return rest, 1, said[4]
    if said.lower() == "sep=" and first.rstrip("\r").endswith("\t"):
        return rest, 1, "\t"
    return text, 0, None


def _delimiter_of(text: str, required: Sequence[str]) -> str:
    def found(delimiter: str) -> tuple[int, int]:
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
            columns = {name.strip() for name in next(reader, [])}
        except csv.Error:
            return -1, 0
        return len(columns & set(required)), len(columns)

    return max(DELIMITERS, key=found)


def _check_columns(path: Path, line: int, columns: Sequence[str], required: Sequence[str]) -> None:
    if missing := [name for name in required if name not in columns]:
        raise InputError(f"{path}:{line}: column {', '.join(missing)} is missing; found: {', '.join(columns)[:200]}")
    if twice := [name for name, number in Counter(columns).items() if name and number > 1]:
        raise InputError(f"{path}:{line}: column {', '.join(twice)} stands twice; keep one")
