"""One image and its boxes, as the writers of label formats take them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from data_utils.errors import InputError
from data_utils.types import Annotation


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image of a set that is to be written in some label format.

    inner: path below the image folder, "/" between its parts, with suffix. width, height: pixels of the displayed
    frame (EXIF rotation applied). annotation: boxes over that frame; without any, the image is a negative.
    """

    inner: str
    width: int
    height: int
    annotation: Annotation


def label_paths(frames: Sequence[LabelledImage], suffix: str) -> list[str]:
    """Return each frame's `inner` with `suffix` (".json") in place of its own.

    Raises InputError naming both images where two would share one label file, also on file systems that ignore case.
    """
    owners: dict[str, str] = {}
    paths = []
    for frame in frames:
        path = str(PurePosixPath(frame.inner).with_suffix(suffix))
        key = unicodedata.normalize("NFC", path).casefold()
        if key in owners:
            raise InputError(f"{frame.inner}: its label file would be '{path}', like that of {owners[key]}; rename one")
        owners[key] = frame.inner
        paths.append(path)
    return paths
