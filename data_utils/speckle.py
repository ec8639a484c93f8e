"""Synthetic multiplicative speckle: y = x * n, with n > 0 of mean 1 and variance 1 / looks.

`gamma`: n ~ Gamma(shape L, scale 1 / L), the intensity of fully developed speckle averaged over L looks (Goodman,
"Some fundamental properties of speckle", J. Opt. Soc. Am. 66, 1976: one look is the exponential distribution).
`lognormal`: n = exp(s g - s^2 / 2) with g normal and s^2 = ln(1 + 1 / L).

Grains: a field of independent normal numbers is blurred by a Gaussian, divided by the standard deviation that the blur
leaves (the sum of the squared 1-D weights), and only then turned into n, quantile by quantile. So neighbours are alike
and n keeps its distribution exactly, which blurring n itself would not.

The noise acts on displayed grey values, one n for the three channels of a pixel. A scanner's speckle arises before its
logarithmic compression, so this is a stand-in for it, as in the literature, and not a model of a scanner.
"""

from __future__ import annotations

import functools
import math
import zlib
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from data_utils.augment import Image
from data_utils.config.sections import Config
from data_utils.dataset import open_frames
from data_utils.errors import InputError
from data_utils.imaging.images import image_size
from data_utils.lists import find_hr_partners, read_split_list

FloatField = NDArray[np.float32]

_LIMIT, _KNOTS = 6.0, 1201  # normal quantiles tabulated between +-6: beyond lies one number in 500 million


def speckle_field(
    height: int, width: int, rng: np.random.Generator, looks: float, distribution: str = "gamma", grain: float = 0.0
) -> FloatField:
    """Draw n, float32 [height, width]: positive, mean 1, variance 1 / `looks`; `grain` is the blur's sigma in pixels.

    Raises ValueError for a distribution other than gamma and lognormal, and for looks that are not above 0.
    """
    if not looks > 0:
        raise ValueError(f"looks must be above 0, found {looks}")
    normal = _normal_field(height, width, rng, grain)
    if distribution == "lognormal":
        variance = math.log1p(1 / looks)
        return np.exp(math.sqrt(variance) * normal - variance / 2).astype(np.float32)
    if distribution != "gamma":
        raise ValueError(f"speckle '{distribution}': known are gamma and lognormal")
    return np.interp(normal, *_gamma_quantiles(float(looks))).astype(np.float32)


def add_speckle(
    image: NDArray[np.generic],
    rng: np.random.Generator,
    looks: float,
    distribution: str = "gamma",
    grain: float = 0.0,
) -> NDArray[np.generic]:
    """Return `image` times speckle, clipped to its range: uint8 [H, W(, C)], rounded, or float [H, W(, C)] in [0, 1].

    Clipping at white takes away the noise's upper tail there, so bright areas get a little darker on average.
    """
    height, width = image.shape[:2]
    field = speckle_field(height, width, rng, looks, distribution, grain)
    noisy = image.astype(np.float32) * (field[..., None] if image.ndim == 3 else field)
    if image.dtype == np.uint8:
        return np.rint(noisy.clip(0, 255)).astype(np.uint8)
    return noisy.clip(0, 1).astype(image.dtype)


def frame_rng(seed: int, stem: str) -> np.random.Generator:
    """Return the generator of a frame that gets the same noise each time, whichever list and place it stands in."""
    return np.random.default_rng([seed, zlib.crc32(stem.encode())])


def _normal_field(height: int, width: int, rng: np.random.Generator, grain: float) -> FloatField:
    """Draw standard normal numbers [height, width], correlated by a Gaussian of sigma `grain` where it is above 0."""
    if not grain:
        return rng.standard_normal((height, width), dtype=np.float32)
    radius = math.ceil(3 * grain)
    weights = cv2.getGaussianKernel(2 * radius + 1, grain, cv2.CV_32F)
    # Drawn larger and cut, because numbers blurred against a border would vary more than the others.
    wide = rng.standard_normal((height + 2 * radius, width + 2 * radius), dtype=np.float32)
    blurred = cv2.sepFilter2D(wide, -1, weights, weights)[radius : radius + height, radius : radius + width]
    return (blurred / np.square(weights).sum()).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _gamma_quantiles(looks: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return normal quantiles, and those of Gamma(looks, 1 / looks) that belong to them."""
    from scipy.special import gammaincinv, ndtr

    normal = np.linspace(-_LIMIT, _LIMIT, _KNOTS)
    return normal, gammaincinv(looks, ndtr(normal)) / looks


# Prepared frames with speckle laid over them: what the denoiser learns from and is measured on.
#
# Legend: B batch; h, w sides of a training square or of a whole frame, in pixels. Pictures are uint8 RGB.


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
