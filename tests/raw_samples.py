"""Small raw folders in YOLO's layout, for the tests of the readers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from data_utils.config.sections import DatasetSection
from data_utils.formats import RawSet, read_raw_set


def raw_folder(root: Path, frames: dict[str, str | None]) -> Path:
    """Make root/images/<name> and root/labels/<stem>.txt; None leaves the label file out."""
    for name, labels in frames.items():
        image = root / "images" / name
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imencode(".png", np.zeros((20, 40, 3), np.uint8))[1].tofile(image)
        if labels is not None:
            path = (root / "labels" / name).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(labels)
    return root


def read(root: Path, **settings: object) -> RawSet:
    return read_raw_set(DatasetSection.model_validate({"raw": str(root), "nc": 1, "names": ("lesion",), **settings}))
