"""The super-resolution branch: reconstructs the HR frame from two tapped feature maps, during training only.

Legend: B batch; S input (LR) side, the output side is 2S; f fusion stride, so the fused map is S/f wide; W width.
Upsampling from S/f to 2S is a factor 2f, hence log2(2f) stages of x2; it follows from f and is never typed in.
The branch sees nothing but the tapped maps: a skip from the input image would let it win without teaching the backbone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from data_utils.config.sections import Config
from data_utils.loader import ALONE, Shard

# The part of each frame that the branch reconstructs in a training step: a window, so that a step costs less.
#
# Legend: B batch; S input (LR) side; f fusion stride; n = S/f the fused map's side; w, c sides of a window and of its
# context, in fused pixels. One fused pixel is 2f pixels of the HR frame.
#
# The decoder runs on the context: the window and up to `margin` fused pixels around it, moved inside the frame. Only
# the
# window is compared with the HR frame, because near a context's edge the decoder sees padding where the frame goes on.


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


RGB = 3


class ResBlock(nn.Module):
    """EDSR residual block: x + conv3x3(ReLU(conv3x3(x))), no BatchNorm; [B, W, h, w] -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its residual."""
        return x + self.conv2(F.relu(self.conv1(x)))


class UpsamplePS(nn.Module):
    """Sub-pixel convolution (Shi et al. 2016): [B, in, h, w] -> [B, out, factor * h, factor * w]."""

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels * factor**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)

    def forward(self, x: Tensor) -> Tensor:
        """Return the upsampled map."""
        return self.shuffle(self.conv(x))


class FeatureFusion(nn.Module):
    """The encoder: deeper map upsampled to the shallower, concatenated, two 1x1 convolutions, resized to stride f."""

    def __init__(self, channels: Sequence[int], shallow_stride: int, fusion_stride: int, width: int) -> None:
        super().__init__()
        self.rescale = shallow_stride / fusion_stride
        self.conv1 = nn.Conv2d(sum(channels), width, 1)
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Fuse [B, C_a, S/s_a, S/s_a] and [B, C_b, S/s_b, S/s_b] into [B, W, S/f, S/f]."""
        deep = F.interpolate(deep, size=shallow.shape[-2:], mode="bilinear", align_corners=False)
        fused = F.relu(self.conv2(F.relu(self.conv1(torch.cat([shallow, deep], dim=1)))))
        if self.rescale == 1:
            return fused
        return F.interpolate(fused, scale_factor=self.rescale, mode="bilinear", align_corners=False)


def staged_upsampler(width: int, n_stages: int) -> list[nn.Module]:
    """x2 pixel shuffles at full width, then a convolution to RGB, as EDSR does: most of the branch's cost."""
    return [*(UpsamplePS(width, width) for _ in range(n_stages)), nn.Conv2d(width, RGB, 3, padding=1)]


def direct_upsampler(width: int, n_stages: int) -> list[nn.Module]:
    """One sub-pixel convolution to RGB: nothing runs above the fused map's resolution."""
    return [UpsamplePS(width, RGB, factor=2**n_stages)]


def narrowing_upsampler(width: int, n_stages: int) -> list[nn.Module]:
    """x2 pixel shuffles, each to half the width (at least 8), then a convolution to RGB: every stage costs the same."""
    widths = [max(width >> stage, 8) for stage in range(n_stages + 1)]
    return [*(UpsamplePS(a, b) for a, b in itertools.pairwise(widths)), nn.Conv2d(widths[-1], RGB, 3, padding=1)]


# name -> builder(width, n_stages) of the layers from [B, W, S/f, S/f] to [B, 3, 2S, 2S]
UPSAMPLERS: dict[str, Callable[[int, int], list[nn.Module]]] = {
    "staged": staged_upsampler,
    "direct": direct_upsampler,
    "narrowing": narrowing_upsampler,
}


def deep_decoder(width: int, n_stages: int, n_resblocks: int, upsampler: str) -> nn.Module:
    """EDSR-style decoder [B, W, S/f, S/f] -> [B, 3, 2S, 2S]: residual blocks, then an upsampler (paper: staged)."""
    blocks = [ResBlock(width) for _ in range(n_resblocks)]
    return nn.Sequential(*blocks, *UPSAMPLERS[upsampler](width, n_stages))


def light_decoder(width: int, n_stages: int, n_resblocks: int, upsampler: str) -> nn.Module:
    """Transposed convolutions, kernel 4, stride 2, no residual blocks; fusion stride 4 gives the published three."""
    widths = [max(width >> stage, 8) for stage in range(n_stages)] + [RGB]
    layers: list[nn.Module] = []
    for in_channels, out_channels in itertools.pairwise(widths):
        layers += [nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


# name -> builder(width, n_stages, n_resblocks, upsampler); adding one is a function, a line and a test.
SR_DECODERS: dict[str, Callable[[int, int, int, str], nn.Module]] = {"deep": deep_decoder, "light": light_decoder}


class SRBranch(nn.Module):
    """Encoder and decoder (Baldini et al. 2025, section 2.2).

    channels, strides: of the two tapped maps, shallower first, read from the model. checkpointing: in training, keep
    only what enters each part of the decoder and compute the rest again on the way back: less memory, more time, the
    same gradients.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        decoder: str = "deep",
        fusion_stride: int = 2,
        width: int = 64,
        n_resblocks: int = 16,
        upsampler: str = "staged",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != 2 or len(strides) != 2 or strides[0] > strides[1]:
            raise ValueError(f"the branch fuses two maps, shallower first; got channels {channels}, strides {strides}")
        if decoder not in SR_DECODERS:
            raise ValueError(f"decoder '{decoder}' is not among {sorted(SR_DECODERS)}")
        n_stages = (2 * fusion_stride).bit_length() - 1
        if 2**n_stages != 2 * fusion_stride:
            raise ValueError(f"fusion_stride {fusion_stride} is not a power of two")
        self.fusion = FeatureFusion(channels, strides[0], fusion_stride, width)
        self.decoder = SR_DECODERS[decoder](width, n_stages, n_resblocks, upsampler)
        self.checkpointing = checkpointing
        self._start_at_mid_grey()

    def forward(self, shallow: Tensor, deep: Tensor, windows: Windows | None = None) -> Tensor:
        """Reconstruct RGB float [B, 3, 2S, 2S], unbounded (the loss pulls it into [0, 1]).

        With `windows` only those parts of the frames: [B, 3, 2fw, 2fw] for windows w fused pixels wide.
        """
        fused = self.fusion(shallow, deep)
        if windows is None:
            return self._decode(fused)
        return windows.inside(self._decode(windows.context(fused)))

    def _decode(self, fused: Tensor) -> Tensor:
        if not (self.checkpointing and self.training and torch.is_grad_enabled()):
            return self.decoder(fused)
        x: Any = fused
        for part in self.decoder.children():
            x = checkpoint(part, x, use_reentrant=False, preserve_rng_state=False)  # nothing in it is random
        return x

    def _start_at_mid_grey(self) -> None:
        # Output near 0.5 instead of 0 halves the first losses and spares the shared backbone a useless push.
        last = [m for m in self.decoder.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)][-1]
        assert last.bias is not None
        nn.init.constant_(last.bias, 0.5)
