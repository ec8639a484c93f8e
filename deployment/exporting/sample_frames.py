"""Real frames for an export: to compare detections on, and to calibrate eight bits by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_utils.config_sections import Config
from data_utils.errors import InputError
from data_utils.imaging.images import list_images, read_bgr
from data_utils.splitting.split_list import read_split_list


def find_frames(config: Config, split: int, part: str, folder: Path | None) -> list[Path]:
    """List frames: those in `folder` where it is given, else of a part of the checkpoint's own split.

    Empty where no split is prepared here. Raises InputError for a folder without images, and for a split that is not
    there among others that are.
    """
    if folder is not None:
        found = list_images(folder) if folder.is_dir() else []
        if not found:
            raise InputError(f"--frames {folder}: no folder with images")
        return sorted(found)
    listed = config.dataset.split_list(split, part)
    if listed.is_file():
        return [path for path in read_split_list(listed) if path.is_file()]
    if there := config.dataset.split_numbers():
        raise InputError(f"--split {split}: no {listed}; here are {', '.join(f'split{number}' for number in there)}")
    return []


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Take at most `count` of the paths, evenly spread, so that neighbouring video frames do not crowd out others."""
    if len(paths) <= count:
        return list(paths)
    return [paths[k] for k in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def read_frames(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Decode frames, uint8 [H, W, 3] BGR each."""
    return [read_bgr(path).bgr for path in paths]
