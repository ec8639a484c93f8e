"""Multi-scale training of a plain detector: each batch at a side of its own. A control beside the SR branch."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from data_utils.config_sections import SIDE_MULTIPLE, Config


def side_of_batch(config: Config, batch: int) -> int:
    """Return the input side, in pixels, of batch number `batch` (from 0); the same in every process and every run.

    Drawn evenly from the multiples of 32 px within imgsz_lr * (1 +- augment.multi_scale), imgsz_lr among them.
    """
    share, side = config.augment.multi_scale, config.imgsz_lr
    if not share:
        return side
    steps = int(share * side) // SIDE_MULTIPLE
    step = np.random.default_rng([config.seed, batch]).integers(-steps, steps + 1)
    return max(SIDE_MULTIPLE, side + int(step) * SIDE_MULTIPLE)


def resized(images: Tensor, side: int) -> Tensor:
    """Return images float [B, 3, S, S] at `side`, bilinear; boxes are over the frame's sides and need no change."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
