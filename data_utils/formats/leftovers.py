"""Label files that no reader took: damaged ones must not turn lesion frames into healthy ones without a word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import InputError
from data_utils.formats.json_text import read_json
from data_utils.formats.labels import Findings, read_label_bytes
from data_utils.formats.sources import Source
from data_utils.formats.spelling import folded_name
from data_utils.formats.xml_text import parse_xml
from data_utils.visible_files import visible_files

STRUCTURED = (".json", ".xml", ".zip")  # what annotation tools export a whole set as
PER_IMAGE = (".txt", ".json", ".xml")
# Of these a label file has one or more; a file of another purpose hardly any.
LABEL_KEYS = {"images", "annotations", "categories", "shapes", "bbox", "imagePath"}


def check_leftovers(raw: Path, sources: Sequence[Source], findings: Findings) -> None:
    """Record a problem for each file below `raw` that looks like labels but was read by nobody.

    Those are: a file with the name of an image that has no label; JSON and XML that cannot be parsed; JSON with some
    keys of a known format; and, where no image has a label at all, any JSON, XML or zip. Hidden files do not count.
    """
    used = {source.label for source in sources}
    bare = {folded_name(source.image.stem): source.image for source in sources if source.label is None}
    if not bare:
        return
    for path in visible_files(raw, {*STRUCTURED, *PER_IMAGE}):
        suffix = path.suffix.lower()
        if path in used:
            continue
        twin = bare.get(folded_name(path.stem))
        if twin is not None and suffix in PER_IMAGE:
            findings.problem(f"{path}: has the name of {twin}, but was not read as its label; mend it, or put it where "
                             "labels are sought (see data/README.md)")  # fmt: skip
        elif suffix in STRUCTURED and (reason := _why_labels(path, nothing_read=len(bare) == len(sources))):
            findings.problem(reason)


def _why_labels(path: Path, nothing_read: bool) -> str | None:
    """Say why an unread file is taken for labels, or None for one that is something else."""
    try:
        if path.suffix.lower() == ".json":
            keys = LABEL_KEYS & set(record) if isinstance(record := read_json(path), dict) else set()
            if keys:
                return f"{path}: has {sorted(keys)}, yet is no whole label file of a known format; export it again"
        elif path.suffix.lower() == ".xml":
            parse_xml(path, read_label_bytes(path))
    except InputError as error:
        return str(error)
    if not nothing_read:
        return None
    if path.suffix.lower() == ".zip":
        return f"{path}: a zip beside frames without labels; unpack it, or set dataset.raw to it"
    return f"{path}: the only thing like labels here, but of no known format; export it again, or move it away"
