"""Any label format -> any other: images copied without their metadata, labels for the frame as displayed.

    python -m data_utils.convert SRC DST --to yolo|coco|voc|cvat|labelme|hyperkvasir|labelmap|mask

SRC is a folder or a zip archive and is only read; DST must be absent or empty, and appears whole or not at all. Class
names and their order, frames without boxes and metadata.csv are kept; what is written is read back and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_utils.convert.steps import ConvertReport


def convert(
    src: str | Path,
    dst: str | Path,
    to: str,
    *,
    names: Sequence[str] = (),
    overwrite: bool = False,
    skip_unreadable: bool = False,
    progress: bool = False,
    **reading: object,
) -> ConvertReport:
    """Write the data set at `src` (a folder or zip archive) to the new folder `dst` in the format `to`.

    names: class names in the order of their ids, where the source does not say them, or to choose another order.
    overwrite: replace a `dst` that an earlier call wrote and nobody changed. skip_unreadable: leave out images that do
    not decode, instead of refusing. reading: how to read the source, in the words of configs/dataset.yaml: format,
    allow_background, bad_boxes, labels_frame, labelmap. Boxes are written for the displayed frame; JPEG and PNG copies
    keep their orientation and colour profile and no other metadata. Raises InputError for bad input; `dst` is then as
    it was.
    """
    from data_utils.convert.steps import Conversion  # here, so that --help does not wait for OpenCV and pydantic

    return Conversion(Path(src), Path(dst), to, progress).run(names, reading, overwrite, skip_unreadable)
