"""Prepared frames with speckle laid over them: what the denoiser learns from and is measured on.

Legend: B batch; h, w sides of a training square or of a whole frame, in pixels. Pictures are uint8 RGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_utils.augment import Image
from data_utils.config_sections import Config
from data_utils.errors import InputError
from data_utils.frame_cache import open_frames
from data_utils.imaging.images import image_size
from data_utils.speckle import add_speckle, frame_rng
from data_utils.splitting.split_list import find_hr_partners, read_split_list


class NoisyPair(TypedDict):
    """One item, or with B in front a batch of them: uint8 [3, h, w] noisy and clean, and the clean frame's path."""

    noisy: Tensor
    clean: Tensor
    img_path: str


class SpeckleDataset(Dataset[NoisyPair]):
    """The frames of a split list, each with speckle of `config.denoise`.

    training: a square of `crop` pixels a side, drawn anew each epoch, flipped at random, under noise of varying
    strength; all of it follows from (seed, epoch, index). Else the whole frame under noise of `eval_looks`, the same
    each time. limit: only that many frames, evenly spread over the list.
    Raises InputError for lists and frames that are missing, and for frames of different sizes.
    """

    def __init__(self, txt_file: str | Path, config: Config, training: bool, limit: int | None = None) -> None:
        self.config, self.training, self.noise = config, training, config.denoise
        listed = read_split_list(txt_file)
        chosen = np.linspace(0, len(listed) - 1, min(limit or len(listed), len(listed))).round().astype(int)
        self.image_paths = [listed[index] for index in chosen]
        if self.noise.source == "hr":
            self.image_paths = find_hr_partners(self.image_paths, config.dataset.hr_images)
        self.side = _common_side(self.image_paths)
        (self._frames,) = open_frames(config.run.cache, [(self.image_paths, self.side)])
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # reaches loader processes that live on
        self._progress: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image_paths)

    def __getitem__(self, index: int) -> NoisyPair:
        """Return one pair; raises InputError naming a frame that cannot be read."""
        if self._progress is not None:
            self._progress[0] = index
        noisy, clean = self.pair(index)
        return {
            "noisy": torch.from_numpy(noisy).permute(2, 0, 1),
            "clean": torch.from_numpy(clean).permute(2, 0, 1),
            "img_path": str(self.image_paths[index]),
        }

    def pair(self, index: int) -> tuple[Image, Image]:
        """Return the noisy picture and the clean one, uint8 RGB [h, w, 3]."""
        noise, frame = self.noise, self._frames[index]
        if self.training:
            rng = np.random.default_rng([self.config.seed, int(self._epoch[0]), index])
            clean = self._square(frame, rng)
            low, high = np.log(noise.looks)
            looks = float(np.exp(rng.uniform(low, high)))
        else:
            rng = frame_rng(self.config.seed, self.image_paths[index].stem)
            clean, looks = frame.copy(), noise.eval_looks
        noisy = add_speckle(clean, rng, looks, noise.distribution, noise.grain)
        return noisy.astype(np.uint8, copy=False), clean

    def set_epoch(self, epoch: int) -> None:
        """Draw the squares and the noise of `epoch` (from 0) from now on, in running loader processes too."""
        self._epoch[0] = epoch

    def report_progress_to(self, progress: Tensor) -> None:
        """Write the index of every sample begun to `progress`, int64 [1]."""
        self._progress = progress

    def _square(self, frame: Image, rng: np.random.Generator) -> Image:
        side = min(self.noise.crop, self.side)
        top, left = rng.integers(0, self.side - side + 1, size=2)
        square = frame[top : top + side, left : left + side]
        return np.array(square[:, ::-1] if rng.random() < 0.5 else square, order="C")  # a copy: frames may be cached


def _common_side(paths: list[Path]) -> int:
    """Return the side in pixels of frames that are all the same square, as prepared ones are."""
    sizes = {path: image_size(path)[:2] for path in paths}
    width, height = sizes[paths[0]]
    other = next((path for path, size in sizes.items() if size != (width, width)), None)
    if other is not None:
        shown = "x".join(map(str, sizes[other]))
        raise InputError(
            f"{other}: {shown} pixels, where {paths[0].name} has {width}x{height}: prepared frames are squares of one "
            "size; run `python -m data_utils.prepare` again"
        )
    return width
