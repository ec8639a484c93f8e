"""Finding the images that a label file lists by name, wherever below the raw folder they were put."""

from __future__ import annotations

import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from data_utils.formats.json_text import quoted
from data_utils.formats.labels import Findings, breaks_line
from data_utils.formats.sources import Source
from data_utils.formats.spelling import NameIndex, code_points, folded_name
from data_utils.imaging.images import list_images


class ListedImages:
    """The images below `raw`, found by path or by base name. Composed and decomposed letters count as equal."""

    def __init__(self, raw: Path) -> None:
        self.raw, self.paths = raw, list_images(raw)
        self._by_path = {path.relative_to(raw).as_posix(): path for path in self.paths}
        self._names = NameIndex(self._by_path)
        self._by_name: dict[str, list[Path]] = {}
        for path in self.paths:
            self._by_name.setdefault(folded_name(path.name), []).append(path)

    def find(self, name: str, folders: Sequence[str], findings: Findings) -> Path:
        """Return the image `name` in the first of `folders` (below raw, "." for raw itself) that holds it.

        Failing that, the only image of that base name below raw, which is counted, the first one with a note. Raises
        ValueError for a name that leads out of raw, for no image, and for several of that base name.
        """
        wanted = _inside(unicodedata.normalize("NFC", name.replace("\\", "/")))
        unquoted = _inside(urllib.parse.unquote(wanted))  # some tools write URLs: a%20b.jpg
        for spelling in dict.fromkeys((wanted, unquoted)):
            for folder in folders:
                key = self._names.find(posixpath.normpath(f"{folder}/{spelling}"))
                if key is not None:
                    findings.counts["images listed by their URL-encoded name"] += spelling != wanted
                    return self._by_path[key]
        found = self._by_name.get(folded_name(posixpath.basename(wanted)), [])
        if not found:
            spelled = "" if name.isascii() else f" ({code_points(name)})"
            raise ValueError(f"no image '{name}'{spelled} below {self.raw}; put it there or take it off the list")
        if len(found) > 1:
            raise ValueError(f"{len(found)} images below {self.raw} are called '{posixpath.basename(wanted)}'; "
                             "list it with its folder")  # fmt: skip
        if not findings.counts["images found by their base name alone"]:
            findings.note(f"'{name}' was found by its base name alone, at {found[0]}")
        findings.counts["images found by their base name alone"] += 1
        return found[0]

    def source(self, path: Path, label: Path | None, entry: object) -> Source:
        """Return the Source of one image; its `inner` leaves the innermost folder called `images` out."""
        parts = path.relative_to(self.raw).parts
        anchor = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
        inner = parts if anchor is None else parts[:anchor] + parts[anchor + 1 :]
        return Source(path, label, "/".join(parts), "/".join(inner), entry)


def _inside(name: str) -> str:
    """Return `name`; raises ValueError unless it is a relative path without `..`."""
    if not name or any(map(breaks_line, name)):
        raise ValueError(f"file name {quoted(name)} is no path; mend it")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        raise ValueError(f"file name {quoted(name)} leads out of the raw folder; write it relative to the images")
    return name
