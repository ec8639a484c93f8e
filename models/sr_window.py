"""The part of each frame that the branch reconstructs in a training step: a window, so that a step costs less.

Legend: B batch; S input (LR) side; f fusion stride; n = S/f the fused map's side; w, c sides of a window and of its
context, in fused pixels. One fused pixel is 2f pixels of the HR frame.

The decoder runs on the context: the window and up to `margin` fused pixels around it, moved inside the frame. Only the
window is compared with the HR frame, because near a context's edge the decoder sees padding where the frame goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_utils.config_sections import Config
from data_utils.loader import ALONE, Shard

STREAM = 0x5752  # parts these draws from all others that begin with the run's seed

Corner = tuple[int, int]  # top and left


@dataclass(frozen=True)
class Windows:
    """One window and its context for each of B frames; corners and sides in fused pixels, `scale` = 2f."""

    corners: tuple[Corner, ...]
    side: int
    context_corners: tuple[Corner, ...]
    context_side: int
    scale: int

    def context(self, fused: Tensor) -> Tensor:
        """Cut [B, W, c, c] out of the fused map [B, W, n, n]."""
        return _cut(fused, self.context_corners, self.context_side)

    def inside(self, reconstructed: Tensor) -> Tensor:
        """Cut the windows [B, 3, 2fw, 2fw] out of the decoder's output on the contexts, [B, 3, 2fc, 2fc]."""
        offsets = [
            ((top - context_top) * self.scale, (left - context_left) * self.scale)
            for (top, left), (context_top, context_left) in zip(self.corners, self.context_corners, strict=True)
        ]
        return _cut(reconstructed, offsets, self.side * self.scale)

    def target(self, hr_image: Tensor) -> Tensor:
        """Cut the windows [B, 3, 2fw, 2fw] out of the HR frames [B, 3, 2S, 2S], of any type."""
        corners = [(top * self.scale, left * self.scale) for top, left in self.corners]
        return _cut(hr_image, corners, self.side * self.scale)


def draw_windows(
    n_frames: int,
    share: float,
    margin: int,
    input_side: int,
    fusion_stride: int,
    seed: int,
    step: int,
    shard: Shard = ALONE,
) -> Windows | None:
    """Draw a window for each frame: `share` of the frame's side wide, its centre anywhere, then moved inside the frame.

    The draw is a function of (seed, step) and changes no generator, so a resumed run draws the same windows. Moving the
    window inside is for the frame's edges: with its place drawn uniformly, corners would hardly ever be trained on.
    None for share 1, the whole frame. shard: of a batch that several processes share, this one gets the windows of its
    own frames.
    """
    if share >= 1:
        return None
    whole = input_side // fusion_stride
    side = max(1, round(share * whole))
    context_side = min(whole, side + 2 * margin)
    drawn = np.random.default_rng([seed, STREAM, step]).random((n_frames * shard.world_size, 2))
    centres = drawn[shard.rank :: shard.world_size] * whole
    corners = (centres - side / 2).round().astype(int).clip(0, whole - side)
    context_corners = (corners - margin).clip(0, whole - context_side)
    return Windows(_pairs(corners), side, _pairs(context_corners), context_side, 2 * fusion_stride)


def windows_of(config: Config, n_frames: int, step: int, shard: Shard = ALONE) -> Windows | None:
    """Draw the windows of a run's training batch number `step` (from 0); None where the whole frame is trained on."""
    model, side = config.model, config.imgsz_lr
    return draw_windows(
        n_frames, model.branch_window, model.branch_margin, side, model.fusion_stride, config.seed, step, shard
    )


def _cut(images: Tensor, corners: Sequence[Corner], side: int) -> Tensor:
    # Unbound first: the gradient of a slice of the whole batch would be as large as the batch, for each frame.
    frames = zip(images.unbind(), corners, strict=True)
    parts = torch.stack([frame[:, top : top + side, left : left + side] for frame, (top, left) in frames])
    channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return parts.contiguous(memory_format=torch.channels_last) if channels_last else parts


def _pairs(corners: np.ndarray) -> tuple[Corner, ...]:
    return tuple((int(top), int(left)) for top, left in corners)
