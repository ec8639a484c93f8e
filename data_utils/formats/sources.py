"""Which label file belongs to which image, and the stem each frame is known by from here on."""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_utils.files import visible_files
from data_utils.formats.labels import SHOWN, Findings, breaks_line
from data_utils.formats.markup import quoted
from data_utils.formats.spelling import NameIndex, code_points, folded_name
from data_utils.imaging.images import list_images

_NUMBERS = re.compile(rb"[\d\s.eE+-]*")

MAX_STEM_BYTES = 180  # file systems allow 255 for a name, suffixes and temporary names included


@dataclass(frozen=True)
class Source:
    """One image of a raw set. `below_raw` is its path below the raw folder, `inner` the same without `images/`.

    label: the file that holds its boxes, or None. entry: where one file describes many images, the reader's own parsed
    record of this one; only the reader that made it looks inside.
    """

    image: Path
    label: Path | None
    below_raw: str
    inner: str
    entry: object = None


def pair_with_labels(
    raw: Path, image_folders: Collection[str], label_folders: Sequence[str], suffix: str, findings: Findings,
    *, everywhere: bool = False,
) -> list[Source]:
    """Pair every image below `raw` with its label file, sorted by path.

    The label of `a/images/b/x.jpg` is `a/labels/b/x.txt` (for image_folders ["images"], label_folders ["labels"] and
    suffix ".txt"; x.TXT will do) or, failing that, `x.txt` beside the image. If raw itself has an image folder, images
    elsewhere are not frames, unless `everywhere` is asked for. Label files that no image claims are counted.
    """
    roots = [raw / name for name in image_folders if (raw / name).is_dir() and not everywhere] or [raw]
    sources, claimed = [], set()
    sought: dict[int, list[Path]] = {}  # by index of a source without a label: where its label may lie
    for image in (image for root in roots for image in list_images(root)):
        parts = image.relative_to(raw).parts
        anchor = max((i for i, part in enumerate(parts[:-1]) if part in image_folders), default=None)
        places = _label_paths(raw, parts, anchor, label_folders, suffix)
        label = next((path for path in places if path.is_file() or path.is_symlink()), None)  # a dead link is an error
        inner = parts if anchor is None else parts[:anchor] + parts[anchor + 1 :]
        if label is None:
            sought[len(sources)] = places
        sources.append(Source(image, label, "/".join(parts), "/".join(inner)))
        claimed.add(label)
    for index, label in _alike_labels(raw, sources, sought, suffix, claimed, findings).items():
        sources[index] = replace(sources[index], label=label)
        claimed.add(label)
    _count_orphans(raw, label_folders, suffix, claimed, findings)
    return sources


def _alike_labels(
    raw: Path, sources: Sequence[Source], sought: Mapping[int, Sequence[Path]], suffix: str,
    claimed: Collection[Path | None], findings: Findings,
) -> dict[int, Path]:  # fmt: skip
    """Return the labels, by index of their source, whose names are one with the image's to a person alone.

    Composed and decomposed letters, %-escapes and case do not count. A label that fits two images is a problem, for
    neither may turn healthy.
    """
    free = [path for path in visible_files(raw, {suffix}) if path not in claimed] if sought else []
    by_name: dict[str, Path] = {folded_name(path.relative_to(raw).as_posix()): path for path in free}
    found: dict[int, Path] = {}
    owners: dict[Path, int] = {}
    for index, places in sought.items() if by_name else ():
        keys = (folded_name(place.relative_to(raw).as_posix()) for place in places)
        label = next((by_name[key] for key in keys if key in by_name), None)
        if label is None:
            continue
        if (other := owners.setdefault(label, index)) != index:
            findings.problem(f"{label}: fits both {sources[other].image.name} and {sources[index].image.name}, which "
                             "are one name to a person; rename one")  # fmt: skip
            continue
        found[index] = label
        findings.counts["labels matched though their names are spelled otherwise"] += 1
    return found


def name_frames(sources: Sequence[Source], findings: Findings) -> list[str]:
    """Return the stem of each source: its path below the image folder, without suffix, "/" turned into "_".

    So `patient1/seq1/0001.jpg` becomes `patient1_seq1_0001`. Very long ones are shortened, with a digest of the whole.
    Stems that are equal, or would be on a file system that ignores case, are problems naming both images.
    """
    stems, owners = [], {}
    for source in sources:
        stem = _short(source.inner.rpartition(".")[0].replace("/", "_"))
        if any(map(breaks_line, stem)):
            findings.problem(f"{source.image}: a name with a line break, control or undecodable character; rename it")
        owner = owners.setdefault(unicodedata.normalize("NFC", stem).casefold(), source.image)
        if owner != source.image:
            findings.problem(f"{source.image}: its copy would be named '{stem}', like that of {owner}; rename one")
        stems.append(stem)
    return stems


def _label_paths(
    raw: Path, parts: tuple[str, ...], anchor: int | None, label_folders: Sequence[str], suffix: str
) -> list[Path]:
    start, rest = (0, parts) if anchor is None else (anchor, parts[anchor + 1 :])
    places = [raw.joinpath(*parts[:start], folder, *rest) for folder in label_folders] + [raw.joinpath(*parts)]
    return [path.with_suffix(spelling) for path in places for spelling in (suffix, suffix.upper())]


def _count_orphans(
    raw: Path, label_folders: Sequence[str], suffix: str, claimed: Collection[Path | None], findings: Findings
) -> None:
    beside = {label.parent for label in claimed if label is not None}  # where labels lie, if it has no name for it
    orphans = [
        path
        for path in visible_files(raw, {suffix})
        # classes.txt is the class list that annotation tools leave among the labels.
        if path not in claimed and path.name != "classes.txt"
        and (not set(label_folders).isdisjoint(path.relative_to(raw).parts[:-1])
             or (path.parent in beside and _may_be_label(path)))
    ]
    if orphans:
        findings.counts["label files without an image"] += len(orphans)
        findings.note(f"{len(orphans)} label files have no image: {named_with_code_points(orphans)}")


def named_with_code_points(paths: Sequence[Path]) -> str:
    """Return the first names of a list, those that are not plain ASCII with their code points."""
    names = [f"{path} ({code_points(path.name)})" if not path.name.isascii() else str(path) for path in paths[:SHOWN]]
    return ", ".join(names) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def _may_be_label(path: Path) -> bool:
    """Whether a file among labels may be one itself: notes and lists of images are .txt, too."""
    if path.suffix.lower() != ".txt":
        return True
    try:
        with path.open("rb") as file:
            return _NUMBERS.fullmatch(file.read(256)) is not None
    except OSError:
        return False


def _short(stem: str) -> str:
    encoded = stem.encode("utf-8", "surrogateescape")
    if len(encoded) <= MAX_STEM_BYTES:
        return stem
    return encoded[-MAX_STEM_BYTES:].decode("utf-8", "ignore") + "_" + hashlib.sha256(encoded).hexdigest()[:8]


# Finding the images that a label file lists by name, wherever below the raw folder they were put.


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
