"""The images that a YOLO folder lists, in data.yaml or in obj.data's train.txt.

What is listed is looked up among the images below the raw folder, never opened, so that no entry leads out of it.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_utils.errors import InputError
from data_utils.formats.labels import SHOWN, Findings, read_label_bytes
from data_utils.formats.spelling import NameIndex
from data_utils.formats.yolo_names import YoloIndex
from data_utils.imaging.images import list_images

_DRIVE = re.compile(r"^[A-Za-z]:")


def listed_images(
    raw: Path, indexes: Sequence[YoloIndex], findings: Findings, max_missing: float = 0.0
) -> set[str] | None:
    """Return the paths below `raw`, "/" between parts and in NFC, of the images these files list; None if none lists.

    An entry that leads out of `raw` is a problem, and so are entries of which some are there and others are not, and
    more than a share `max_missing` of the lines of list files that name no image. Where no entry is there, all images
    count, with a note. Images that no entry names are counted.
    """
    if not any(index.entries for index in indexes):
        return None
    images = {relative_key(path, raw) for path in list_images(raw)}
    finder = _Finder(raw, images, findings)
    listed = {found for index in indexes for key, entry in index.entries for found in finder.entry(index, key, entry)}
    if not listed and not findings.problems and not finder.gone:
        findings.counts["lists and folders of data.yaml or obj.data that are not there"] += len(finder.missing)
        findings.note(f"{indexes[0].path}: none of its lists and folders is there, so all images count: "
                      f"{', '.join(finder.missing)}")  # fmt: skip
        return None  # every entry is of another machine
    _refuse_missing(finder, indexes[0].path, max_missing, findings)
    if others := sorted(images - listed):
        findings.counts["images that no list names, left out"] += len(others)
        findings.note(f"{len(others)} images stand in no list of {indexes[0].path} and were left out: {others[0]}")
    return listed


def _refuse_missing(finder: _Finder, where: Path, max_missing: float, findings: Findings) -> None:
    """Record what is missing from lists that are there in part: the rest alone would pass for the whole set."""
    if finder.missing:
        findings.problem(f"{where}: some of its lists and folders are there, {len(finder.missing)} are not or hold "
                         f"no image: {', '.join(finder.missing)}; put them there, or take them out of it")  # fmt: skip
    if not finder.gone:
        return
    what = f"{len(finder.gone)} of {finder.n_lines} listed images are not there: {', '.join(finder.gone[:SHOWN])}"
    if len(finder.gone) > max_missing * finder.n_lines:
        findings.problem(f"{what}; put them where the list says, beside their label files, or raise "
                         "dataset.max_unreadable")  # fmt: skip
    else:
        findings.counts["listed images that are not there"] += len(finder.gone)
        findings.note(what)


def relative_key(path: Path, raw: Path) -> str:
    """Return how an image below `raw` is known here: its relative path in NFC."""
    return unicodedata.normalize("NFC", path.relative_to(raw).as_posix())


class _Finder:
    """Looks entries up among the images of one raw folder."""

    def __init__(self, raw: Path, images: set[str], findings: Findings) -> None:
        self._raw, self._images, self._findings = raw, images, findings
        self._names = NameIndex(images)
        self.missing: list[str] = []  # entries that are not there, or hold no image
        self.gone: list[str] = []  # lines of list files that name no image
        self.n_lines = 0
        self._roots = {root.as_posix() for root in (raw.absolute(), raw.resolve())}
        folders = [key.split("/")[:-1] for key in images]
        self._folders = {"/".join(parts[:n]) or "." for parts in folders for n in range(len(parts) + 1)}

    def entry(self, index: YoloIndex, key: str, entry: str) -> Iterator[str]:
        """Yield the images of one folder, image or list file that `index` names under `key`."""
        bases = self._bases(index)
        # Widely used exports say ../train/images for the train/images beside the file.
        spellings = [entry, re.sub(r"^(\.\./)+", "", entry.replace("\\", "/"))]
        places = [place for spelling in spellings for place in self._places(spelling, bases)]
        for place in places:
            if place in self._folders:
                prefix = "" if place == "." else place + "/"
                yield from (image for image in self._images if image.startswith(prefix))
                return
            if (image := self._known(place)) is not None:
                yield image
                return
            if self._is_list(place):
                yield from self._lines(self._raw / place, [*bases, posixpath.dirname(place)])
                return
        if not self._places(entry, bases):
            self._findings.problem(f"{index.path}: {key}: '{entry[:200]}' leads out of {self._raw}; copy the images "
                                   "into it and list them relative to the file")  # fmt: skip
            return
        self.missing.append(f"{key}: '{entry[:200]}'")

    def _lines(self, path: Path, bases: list[str]) -> Iterator[str]:
        try:
            text = read_label_bytes(path).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{path}: not a UTF-8 list of images; save it as UTF-8") from None
        for line_number, line in enumerate(text.split("\n"), start=1):
            if not (name := line.strip()):
                continue
            self.n_lines += 1
            places = self._places(name, bases)
            found = next((image for image in map(self._known, places) if image is not None), None)
            if found is not None:
                yield found
                continue
            if not places:
                self._findings.problem(f"{path}:{line_number}: '{name[:200]}' leads out of {self._raw}; copy the "
                                       "images into it and list them relative to the file")  # fmt: skip
                continue
            self.gone.append(f"{path}:{line_number}: '{name[:200]}'")

    def _known(self, place: str) -> str | None:
        """Return the image that a listed path means; of two that a person reads alike, none."""
        try:
            return self._names.find(place)
        except ValueError as error:
            self._findings.problem(str(error))
            return None

    def _bases(self, index: YoloIndex) -> list[str]:
        """Folders below raw that entries may be relative to; a `path` elsewhere is one of another machine."""
        home = index.path.parent.relative_to(self._raw).as_posix()
        return list(dict.fromkeys([*self._places(index.root, [home], strip=False), home, "."]))

    def _places(self, entry: str, bases: Sequence[str], strip: bool = True) -> list[str]:
        """Return where below raw `entry` may lie; nothing if it leads out of it, whatever it is relative to."""
        found: list[str] = []
        for spelling in dict.fromkeys((entry, entry.replace("\\", "/"))):
            if spelling.startswith("/") or _DRIVE.match(spelling):
                places = [spelling[len(root) :].lstrip("/") for root in self._roots
                          if spelling == root or spelling.startswith(root + "/")]  # fmt: skip
            else:
                # Darknet's lists, and CVAT's, begin with the data/ folder of the trainer they are made for.
                tails = dict.fromkeys([spelling, spelling.removeprefix("data/")] if strip else [spelling])
                places = [posixpath.join(base, tail) for base in bases for tail in tails]
            places = [posixpath.normpath(place) for place in places]
            inside = [place for place in places if place != ".." and not place.startswith(("../", "/"))]
            if not inside:
                return []
            found += [unicodedata.normalize("NFC", place) for place in inside]
        return found

    def _is_list(self, place: str) -> bool:
        try:
            return place.lower().endswith(".txt") and (self._raw / place).is_file()
        except OSError:  # a name too long for the file system
            return False
