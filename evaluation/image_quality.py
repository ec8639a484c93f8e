"""PSNR and SSIM of a reconstructed frame against its target, on RGB in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Gaussian, Wang et al. 2004
_C1, _C2 = 0.01**2, 0.03**2
_LEAST_MSE = 1e-10  # identical pictures read 100 dB instead of infinity


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Return 10 log10(1 / MSE) in dB, float32 [B], of two float batches [B, 3, H, W] in [0, 1]; at most 100."""
    mse = (image.float() - target.float()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(mse.clamp_min(_LEAST_MSE))


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Return structural similarity, float32 [B], of two float batches [B, 3, H, W] in [0, 1]; H, W at least 11.

    Wang et al. 2004, eq. 13: Gaussian window 11x11 with sigma 1.5, taken where it lies inside the picture, averaged
    over positions and colour channels.
    """
    if min(image.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs sides of at least {SSIM_WINDOW} pixels, found {tuple(image.shape[-2:])}")
    x, y = image.float(), target.float()
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def bicubic_x2(lr_image: Tensor) -> Tensor:
    """Upsample float [B, 3, S, S] to [B, 3, 2S, 2S] by bicubic interpolation, clipped to [0, 1]: the baseline."""
    return F.interpolate(lr_image.float(), scale_factor=2, mode="bicubic", align_corners=False).clamp(0, 1)


class ReconstructionQuality:
    """Running means of PSNR and SSIM of the SR output, and of bicubic upsampling of the same LR frames.

    Of `n_total` frames it measures about `limit`, evenly spread over their order, because neighbours look alike.
    """

    def __init__(self, limit: int, n_total: int) -> None:
        self.every = max(1, math.ceil(n_total / max(limit, 1)))
        self.limit, self.n_total = limit, n_total
        self.stems: list[str] = []
        self._sums = {"psnr": 0.0, "ssim": 0.0, "psnr_bicubic": 0.0, "ssim_bicubic": 0.0}

    def chosen(self, first: int, count: int) -> list[int]:
        """Return which of a batch's `count` frames to measure, the batch starting at frame number `first`."""
        return [i for i in range(count) if self.limit and (first + i) % self.every == 0]

    def update(self, stems: list[str], lr_image: Tensor, sr_output: Tensor, hr_image: Tensor) -> None:
        """Measure LR [B, 3, S, S], SR and HR [B, 3, 2S, 2S], float RGB in [0, 1]; the SR output is clipped to it."""
        target = hr_image.float()
        for suffix, image in (("", sr_output.float().clamp(0, 1)), ("_bicubic", bicubic_x2(lr_image))):
            self._sums["psnr" + suffix] += float(psnr(image, target).sum())
            self._sums["ssim" + suffix] += float(ssim(image, target).sum())
        self.stems += stems

    @classmethod
    def merged(cls, parts: Sequence[ReconstructionQuality]) -> ReconstructionQuality:
        """Return what several processes measured, each on frames of its own, as one."""
        whole = cls(sum(part.limit for part in parts), sum(part.n_total for part in parts))
        for part in parts:
            whole.stems += part.stems
            for name, value in part._sums.items():
                whole._sums[name] += value
        return whole

    def means(self) -> dict[str, float | None]:
        """Return the mean of each measure over the frames; None before the first one or where one was not finite."""
        if not self.stems:
            return dict.fromkeys(self._sums)
        means = {name: total / len(self.stems) for name, total in self._sums.items()}
        return {name: value if math.isfinite(value) else None for name, value in means.items()}


def _blur(image: Tensor) -> Tensor:
    """Filter each channel of [B, C, H, W] with the separable Gaussian window, without padding."""
    offsets = torch.arange(SSIM_WINDOW, device=image.device, dtype=image.dtype) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    kernel = (window / window.sum()).expand(image.shape[1], 1, 1, -1)
    across = F.conv2d(image, kernel, groups=image.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=image.shape[1])
