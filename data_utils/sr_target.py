"""What L_SR may compare with instead of the HR frame, to ask whether it is the picture that helps or any second task.

upsampled   the HR frame reduced to the LR side and enlarged again: what a source without real HR detail would give.
other       the HR frame of another training frame: pictures alike, but not the one that is seen.
random      noise, drawn anew for every sample: nothing to learn but its mean.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from data_utils.augment import Image


def other_index(index: int, n_frames: int, rng: np.random.Generator) -> int:
    """Draw a frame other than `index` out of `n_frames`; of a single one, that one."""
    return int(index + rng.integers(1, max(n_frames, 2))) % n_frames


def _upsampled(hr_image: Image, _: np.random.Generator) -> Image:
    height, width = hr_image.shape[:2]
    small = cv2.resize(hr_image, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)


def _other(other_hr_image: Image, _: np.random.Generator) -> Image:
    return other_hr_image.copy()


def _random(hr_image: Image, rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, hr_image.shape, dtype=np.uint8)


# loss.sr_target -> (HR frame [2S, 2S, 3] uint8, generator) -> target of the same shape; `other` is given another frame
SR_TARGETS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "upsampled": _upsampled,
    "other": _other,
    "random": _random,
}
