"""Which files below a folder are a person's own: hidden and system folders hold none."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path, PurePath

from data_utils.errors import InputError

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
