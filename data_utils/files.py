"""Text files that appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import threading
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from data_utils.errors import InputError


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


# Reading back what we saved as JSON, where a file that is missing or torn counts as one that says nothing.


def read_saved_json(path: Path) -> dict[str, Any]:
    """Return the object a JSON file holds; empty when it is missing, torn or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def finite(value: Any) -> float | None:
    """Return what was read as a float; None for NaN, infinities and anything that is no number, true and false too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


# Reading tables that people write by hand or save from a spreadsheet: metadata.csv, and lists and truth of videos.


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


# Which files below a folder are a person's own: hidden and system folders hold none.


# Made by file managers, sync tools, notebooks and file systems; whatever lies in them is a copy or rubbish.
SYSTEM_FOLDERS = frozenset({
    "@eadir", "__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "#recycle",
    "@recycle", "__pycache__", "found.000", "@snapshot", "#snapshot", "@recently-snapshot", "@tmp", "recycled",
    "network trash folder", "temporary items",
})  # fmt: skip


def is_hidden(name: str) -> bool:
    """Return whether a file's or folder's own name marks it as no data: a leading dot, or a system folder's name."""
    return name.startswith(".") or name.casefold() in SYSTEM_FOLDERS


def is_hidden_below(path: PurePath, folder: PurePath) -> bool:
    """Return whether `path`, or a folder on the way to it from `folder`, is hidden; `folder` itself may be."""
    return any(map(is_hidden, path.relative_to(folder).parts))


def visible_files(folder: str | Path, suffixes: Collection[str] | None = None) -> list[Path]:
    """Return the files below `folder`, sorted, hidden ones and those in hidden or system folders left out.

    suffixes: in lower case with their dot; None takes all. Linked folders are followed once. Raises InputError if a
    folder cannot be listed.
    """
    found: list[Path] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        if error.filename == os.fspath(folder) and not os.path.exists(folder):
            return  # nothing lies in a folder that is not there
        raise InputError(f"{error.filename}: folder cannot be listed ({error.strerror})")

    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()  # a link back to a folder already listed
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found += [
            Path(root, name)
            for name in files
            if not is_hidden(name) and (suffixes is None or os.path.splitext(name)[1].lower() in suffixes)
        ]
    return sorted(found)
