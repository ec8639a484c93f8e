"""User-made splits: list files below the raw folder, or path prefixes ending in "/" (dataset.split.predefined)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_utils.errors import InputError
from data_utils.splits import PARTS, Part, Split, SplitItem

KEY = "dataset.split.predefined"


def predefined_split(
    items: Iterable[SplitItem],
    entries: Mapping[Part, Sequence[str]],
    raw: str | Path,
    excluded: Iterable[tuple[str, str]] = (),
) -> tuple[Split, list[str]]:
    """Split `items` as the user listed them; returns the split and notes on what was left out.

    An entry "a/b/" takes every frame whose path below `raw` begins so; any other entry is a list file below `raw`, a
    stem or path a line. `excluded` holds (stem, filename) of raw frames that were not prepared: they may be listed.
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
    return split, _notes(by_filename, chosen, dropped)


def _notes(
    kept: Mapping[str, SplitItem], chosen: Mapping[str, object], dropped: Sequence[tuple[str, str]]
) -> list[str]:
    notes = []
    if unlisted := len(set(kept) - set(chosen)):
        notes.append(f"{unlisted} prepared frames are in no part of the predefined split")
    if excluded := sum(filename in chosen for _, filename in dropped):
        notes.append(f"{excluded} frames the predefined split lists were excluded")
    return notes


def _index(frames: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Map every way to name a frame (path, file name, either without its ending, stem) to the paths it can mean."""
    names: dict[str, list[str]] = {}
    for stem, filename in frames:
        path = PurePosixPath(filename)
        ways = (filename, str(path.with_suffix("")), path.name, path.stem, stem)
        for name in dict.fromkeys(map(_plain, ways)):
            names.setdefault(name, []).append(filename)
    return names


def _listed(entries: Sequence[str], part: str, raw: Path, names: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield (filename, where it was listed) for one part."""
    all_filenames = dict.fromkeys(filename for filenames in names.values() for filename in filenames)
    for entry in entries:
        if entry.endswith("/"):
            below = [filename for filename in all_filenames if filename.startswith(entry)]
            if not below:
                raise InputError(f"{KEY}.{part}: no frame below {raw} has a path beginning with '{entry}'")
            yield from ((filename, f"{KEY}.{part} '{entry}'") for filename in below)
        else:
            yield from _from_list_file(_list_file(raw, entry, part), names)


def _list_file(raw: Path, entry: str, part: str) -> Path:
    path = raw / entry
    if PurePosixPath(entry).is_absolute() or ".." in PurePosixPath(entry).parts:
        raise InputError(f"{KEY}.{part}: '{entry}' must be a path below {raw}, without '..'")
    if not path.is_file():
        raise InputError(f"{KEY}.{part}: {path} is no file; name a list file, or a path prefix ending in '/'")
    return path


def _from_list_file(path: Path, names: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 list of frames ({error})") from None
    for number, line in enumerate(lines, start=1):
        name, where = line.strip(), f"{path}:{number}"
        if not name:
            continue
        filenames = names.get(_plain(name), [])
        if len(filenames) != 1:
            found = "no raw frame has that name" if not filenames else f"it can mean {' or '.join(filenames[:3])}"
            raise InputError(f"{where}: '{name}': {found}; list stems or paths below the raw folder")
        yield filenames[0], where


def _plain(name: str) -> str:
    """Spell a name in one way, whatever system wrote it: "./images\\é.jpg" is "images/é.jpg"."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))
