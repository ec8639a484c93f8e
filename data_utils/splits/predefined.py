"""User-made splits: list files below the raw folder or path prefixes ending in "/" (dataset.split.predefined), or a
column of metadata.csv (dataset.split.column).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from data_utils.errors import InputError
from data_utils.formats.identity import DEFAULT_METADATA, MetadataRow, PatientIds, read_metadata
from data_utils.formats.labels import Findings
from data_utils.splits.search import PARTS, Part, Split, SplitItem

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

KEY = "dataset.split.predefined"
COPIES = (("lr", "images"), ("hr", "images"))  # folders of prepared frames
COPY = "copy of "  # stands before a stem where nothing else can be meant


def user_split(
    items: Sequence[SplitItem], dataset: DatasetSection, excluded: Sequence[tuple[str, str]] = ()
) -> tuple[Split, list[str]]:
    """Split `items` as dataset.split.predefined or .column says; see `predefined_split` and `column_split`."""
    section = dataset.split
    key = "predefined" if section.column is None else "column"
    if section.n_splits != 1:
        raise InputError(f"dataset.split.n_splits = {section.n_splits}: a {key} split is one, write 1")
    if section.predefined is not None:
        return predefined_split(items, section.predefined, dataset.raw, excluded)
    assert section.column is not None, "called for a split nobody made"
    if dataset.metadata is None:
        raise InputError(
            f"dataset.split.column = {section.column}: a column of metadata.csv, but dataset.metadata = null; name it"
        )
    return column_split(items, Path(dataset.raw) / (dataset.metadata or DEFAULT_METADATA), section.column, excluded)


def column_split(
    items: Iterable[SplitItem], metadata_csv: Path, column: str, excluded: Sequence[tuple[str, str]] = ()
) -> tuple[Split, list[str]]:
    """Split `items` as the column `column` of `metadata_csv` says: train, val, test, or nothing for none of them.

    Returns the split and notes on what was left out; `excluded` as for `predefined_split`. Raises InputError, with
    file:line, for another word, and where the file has no such column.
    """
    findings = Findings()
    rows = read_metadata(metadata_csv, findings, column, patients=PatientIds(findings, distinct=True))
    for row in rows.values():
        if row.part not in (*PARTS, ""):
            findings.problem(f"{row.place}: {column} = '{row.part}', allowed: {', '.join(PARTS)}, or nothing")
    findings.raise_problems()
    chosen: dict[str, str] = {}  # filename -> part
    by_filename = {item.filename: item for item in items}
    for filename in [*by_filename, *(filename for _, filename in excluded)]:
        row = _row_of(filename, rows)
        if row is not None and row.part:
            chosen[filename] = row.part
    split: Split = {part: [] for part in PARTS}
    for item in sorted(by_filename.values(), key=lambda item: item.stem):
        if item.filename in chosen:
            split[chosen[item.filename]].append(item)
    return split, _notes(by_filename, chosen, excluded, f"dataset.split.column = {column}")


def _row_of(filename: str, rows: Mapping[str, MetadataRow]) -> MetadataRow | None:
    """Find a frame's line: by its whole path, by less and less of its end, or by its name without the ending."""
    parts = unicodedata.normalize("NFC", filename).split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    return next((rows[name] for name in (*tails, tails[-1].rpartition(".")[0]) if name in rows), None)


def predefined_split(
    items: Iterable[SplitItem],
    entries: Mapping[Part, Sequence[str]],
    raw: str | Path,
    excluded: Iterable[tuple[str, str]] = (),
) -> tuple[Split, list[str]]:
    """Split `items` as the user listed them; returns the split and notes on what was left out.

    An entry "a/b/" takes every frame whose path below `raw` begins so; any other entry is a list file below `raw`, a
    stem or path a line; a path is one below `raw` or that of a prepared copy. `excluded` holds (stem, filename) of raw
    frames that were not prepared: they may be listed.
    Raises InputError, with file:line, for a name no frame has, an ambiguous name, and a frame in two parts.
    """
    by_filename = {item.filename: item for item in items}
    dropped = list(excluded)
    names = _index([(item.stem, item.filename) for item in by_filename.values()] + dropped)
    chosen: dict[str, tuple[str, str]] = {}  # filename -> part, where it was listed
    for part in PARTS:
        for filename, where in _listed(entries.get(part, ()), part, Path(raw), names):
            known = chosen.setdefault(filename, (part, where))
            if known[0] != part:
                raise InputError(f"{where}: '{filename}' is in {part}, and by {known[1]} in {known[0]}; keep it in one")
    split: Split = {part: [] for part in PARTS}
    for item in sorted(by_filename.values(), key=lambda item: item.stem):
        if item.filename in chosen:
            split[chosen[item.filename][0]].append(item)
    return split, _notes(by_filename, chosen, dropped, "the predefined split")


def _notes(
    kept: Mapping[str, SplitItem], chosen: Mapping[str, object], dropped: Sequence[tuple[str, str]], name: str
) -> list[str]:
    notes = []
    if unlisted := len(set(kept) - set(chosen)):
        notes.append(f"{unlisted} prepared frames are in no part of {name}")
    if excluded := sum(filename in chosen for _, filename in dropped):
        notes.append(f"{excluded} frames {name} lists were excluded")
    return notes


def _index(frames: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Map every way to name a frame (path, file name, either without its ending, stem, copy) to what it can mean."""
    names: dict[str, list[str]] = {}
    for stem, filename in frames:
        path = PurePosixPath(filename)
        ways = (filename, str(path.with_suffix("")), path.name, path.stem, stem, COPY + stem)
        for name in dict.fromkeys(map(_plain, ways)):
            names.setdefault(name, []).append(filename)
    return names


def _listed(entries: Sequence[str], part: str, raw: Path, names: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (filename, where it was listed) for one part."""
    all_filenames = dict.fromkeys(filename for filenames in names.values() for filename in filenames)
    for entry in entries:
        if entry.endswith("/"):
            below = [filename for filename in all_filenames if _plain(filename).startswith(_plain(entry))]
            if not below:
                raise InputError(f"{KEY}.{part}: no frame below {raw} has a path beginning with '{entry}'")
            yield from ((filename, f"{KEY}.{part} '{entry}'") for filename in below)
        else:
            yield from _from_list_file(_list_file(raw, entry, part), raw, names)


def _list_file(raw: Path, entry: str, part: str) -> Path:
    path = raw / entry
    if PurePosixPath(entry).is_absolute() or ".." in PurePosixPath(entry).parts:
        raise InputError(f"{KEY}.{part}: '{entry}' must be a path below {raw}, without '..'")
    if not path.is_file():
        raise InputError(f"{KEY}.{part}: {path} is no file; name a list file, or a path prefix ending in '/'")
    return path


def _from_list_file(path: Path, raw: Path, names: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 list of frames ({error})") from None
    for number, line in enumerate(lines, start=1):
        name, where = line.strip(), f"{path}:{number}"
        if not name:
            continue
        filenames = next((names[way] for way in _ways(raw, _plain(name)) if way in names), [])
        if len(filenames) != 1:
            found = "no raw frame has that name" if not filenames else f"it can mean {' or '.join(filenames[:3])}"
            raise InputError(f"{where}: '{name}': {found}; list stems or paths below the raw folder")
        yield filenames[0], where


def _ways(raw: Path, name: str) -> Iterator[str]:
    """Yield what `name` can mean to `_index`: as it stands, below `raw` by its absolute path, a prepared copy."""
    yield name
    path = PurePosixPath(name)
    for folder in (raw.absolute(), raw.resolve()):
        if path.is_relative_to(folder):
            yield _plain(str(path.relative_to(folder)))
    if path.parts[-3:-1] in COPIES:
        yield COPY + path.stem


def _plain(name: str) -> str:
    """Spell a name in one way, whatever system wrote it: "./images\\é.jpg" is "images/é.jpg"."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))
