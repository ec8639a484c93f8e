"""A copy of a prepared set in a scratch folder, at any side, that both trainers may read and write beside.

Ultralytics keeps caches beside labels and rewrites JPEG files whose ending is damaged, so it never gets the real ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.files import write_text
from data_utils.imaging.images import encode_image, read_bgr
from data_utils.lists import label_path, read_split_list

JPEG_QUALITY = 95


def copy_frames(
    config: Config, split: int, folder: Path, side: int, parts: Sequence[str], whole: int = 1, limit: int | None = None
) -> Config:
    """Copy the LR frames and labels of `parts` (train, val, test) into `folder`; return the config that reads the copy.

    side: of the copied frames in pixels, a multiple of the detector's largest stride; frames of another side are
    resized. whole: the training list is cut to a multiple of this many frames; limit: to at most so many before. There
    are no HR frames in a copy, so it serves models without a branch. Raises InputError for a set that is not prepared.
    """
    images = folder / "lr" / "images"
    (folder / "lr" / "labels").mkdir(parents=True)
    images.mkdir()
    for part in parts:
        paths = read_split_list(config.dataset.split_list(split, part))
        if part == "train":
            paths = paths[:limit]
            paths = paths[: max(len(paths) // whole, 1) * whole]
        copies = [images / path.name for path in paths]
        for path, copy in zip(paths, copies, strict=True):
            _copy_image(path, copy, side, config.imgsz_lr)
            shutil.copyfile(label_path(path), label_path(copy))
        write_text(folder / "splits" / f"split{split}" / f"{part}.txt", "".join(f"{copy}\n" for copy in copies))
    if config.dataset.manifest.is_file():
        shutil.copyfile(config.dataset.manifest, folder / "manifest.csv")
    return override_config(config, [
        "sr_decoder=none", f"imgsz_lr={side}", f"imgsz_hr={2 * side}", "dataset.balanced=false",
        f"dataset.processed='{folder}'", f"dataset.splits='{folder / 'splits'}'",
        f"run.results_dir='{folder / 'results'}'", "run.fixed_copies=false", "run.wandb=off", "run.tensorboard=false",
        "run.panel_every=0", "run.name=null",
    ])  # fmt: skip


def _copy_image(path: Path, copy: Path, side: int, given: int) -> None:
    if side == given:
        shutil.copyfile(path, copy)
        return
    image = cv2.resize(read_bgr(path).bgr, (side, side), interpolation=cv2.INTER_LINEAR)
    copy.write_bytes(encode_image(image.astype("uint8", copy=False), copy.suffix, JPEG_QUALITY))
