"""YOLO label files: one box a line, `class cx cy w h`, centre and size over the frame's width and height."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.atomic import write_text
from data_utils.formats.labels import BadBoxes, Findings, check_boxes, read_label_bytes
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.image_header import ImageHeader
from data_utils.types import Annotation

if TYPE_CHECKING:
    from data_utils.config_sections import DatasetSection

COLUMNS = 5


def find_sources(dataset: DatasetSection, findings: Findings) -> list[Source]:
    """Pair `images/**` with `labels/**`, or images with the .txt files beside them."""
    return pair_with_labels(Path(dataset.raw), ["images"], ["labels"], ".txt", findings)


def read_source(
    source: Source, header: ImageHeader | None, dataset: DatasetSection, findings: Findings
) -> Annotation:
    """Read the boxes of one frame; what is wrong with them goes into `findings`. `header` is not needed."""
    assert source.label is not None
    return _parse(source.label, read_label_bytes(source.label), dataset.nc, dataset.bad_boxes, findings)


def read_labels(path: str | Path, nc: int) -> Annotation:
    """Read one label file strictly: boxes in [0, 1], class ids in 0..nc-1. An empty file is a healthy frame.

    A byte order mark, CRLF and trailing spaces are accepted, edges that stick out of the frame are clipped, duplicates
    left out (see `labels.check_boxes`). Raises InputError naming file and line for anything else.
    """
    findings = Findings()
    annotation = _parse(Path(path), read_label_bytes(Path(path)), nc, "error", findings)
    findings.raise_problems()
    return annotation


def write_labels(path: str | Path, annotation: Annotation) -> bool:
    """Write one label file whole or not at all, and return whether it changed; no boxes make an empty file.

    Ten significant digits are kept, so `read_labels` gives the boxes back within 1e-9.
    """
    rows = zip(annotation.class_ids.tolist(), annotation.boxes_cxcywhn.tolist(), strict=True)
    lines = [" ".join([str(class_id), *(f"{value:.10g}" for value in box)]) for class_id, box in rows]
    return write_text(path, "".join(line + "\n" for line in lines))


def _parse(path: Path, data: bytes, nc: int, bad_boxes: BadBoxes, findings: Findings) -> Annotation:
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.isascii() or b"\0" in data:
        findings.problem(f"{path}: not a text file of numbers; export the labels again")
        return Annotation.empty()
    boxes, class_ids, places = [], [], []
    for number, line in enumerate(data.decode("ascii").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            class_id, box = _parse_line(fields, nc)
        except ValueError as error:
            findings.problem(f"{path}:{number}: {error}")
            continue
        boxes.append(box)
        class_ids.append(class_id)
        places.append(f"{path}:{number}")
    return check_boxes(boxes, class_ids, places, bad_boxes, findings)


def _parse_line(fields: list[str], nc: int) -> tuple[int, list[float]]:
    if len(fields) != COLUMNS:
        hint = " (a polygon? this reader takes boxes)" if len(fields) > COLUMNS + 1 else ""
        raise ValueError(f"{len(fields)} columns, expected {COLUMNS}: class cx cy w h{hint}")
    if not fields[0].removeprefix("-").isdigit() or len(fields[0]) > 9:
        raise ValueError(f"class id {_quoted(fields[0])} is not an integer")
    class_id = int(fields[0])
    if not 0 <= class_id < nc:
        raise ValueError(f"class id {class_id}, but dataset.nc = {nc} allows 0..{nc - 1}; "
                         "mend the label, or dataset.nc and dataset.names")  # fmt: skip
    try:
        # float() would also take digit groups such as 1_000.
        return class_id, [float("nothing" if "_" in text else text) for text in fields[1:]]
    except ValueError:
        raise ValueError(f"{_quoted(' '.join(fields[1:]))} are not four numbers") from None


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "...")
