"""The speckle denoiser: a small encoder-decoder with skips, and its use on pictures of any size.

Legend: B batch; H, W picture sides; L levels; w width.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.checkpoint import (
    DENOISE,
    averaged_state,
    check_task,
    checkpoint_config,
    load_state,
    read_checkpoint,
    weights_hash,
)

TILE = 512  # pixels a side; larger pictures are denoised in tiles, so that memory stays bounded


class SpeckleDenoiser(nn.Module):
    """Predicts what to add to a noisy picture: clean = noisy + f(noisy); untrained, f is 0.

    Each of the L levels halves the side by a strided convolution and doubles the channels, from w; the way back is by
    pixel shuffles, and takes in the encoder's map of the same side (U-Net: Ronneberger et al. 2015).
    """

    def __init__(self, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        pairs = list(itertools.pairwise(widths))
        self.levels = levels
        self.encoders = nn.ModuleList([_convolutions(3, width), *(_convolutions(n, n) for n in widths[1:-1])])
        self.downs = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.bottom = _convolutions(widths[-1], widths[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2)) for fine, coarse in pairs
        )
        self.decoders = nn.ModuleList(_convolutions(2 * fine, fine) for fine, _ in pairs)
        self.head = nn.Conv2d(width, 3, 3, padding=1)
        self._reset()

    def _reset(self) -> None:
        # Without Kaiming's scale the signal fades over the levels, and the first hundred steps learn nothing.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType] all of them have one
        nn.init.zeros_(self.head.weight)

    @property
    def stride(self) -> int:
        """Sides are padded to multiples of this many pixels."""
        return 2**self.levels

    @property
    def margin(self) -> int:
        """Pixels of surround after which a tile's picture is that of the whole: at least the receptive field's radius.

        3x3 convolutions reach 4 * 2^k pixels at each level k < L and 2 * 2^L at the bottom, the strided ones 2^k each,
        the head 1: 7 * 2^L - 4 in all.
        """
        return 8 * self.stride

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise float [B, 3, H, W] RGB in [0, 1], H and W any; returns the same shape, not clipped."""
        height, width = noisy.shape[-2:]
        padded = F.pad(noisy, (0, -width % self.stride, 0, -height % self.stride), mode="replicate")
        maps, x = [], padded
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            maps.append(encoder(x))
            x = down(maps[-1])
        x = self.bottom(x)
        for up, decoder, skipped in reversed(list(zip(self.ups, self.decoders, maps, strict=True))):
            x = decoder(torch.cat([up(x), skipped], dim=1))
        return noisy + self.head(x)[..., :height, :width]


def _convolutions(n_in: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (n_in, n_out):
        layers += [nn.Conv2d(channels, n_out, 3, padding=1), nn.SiLU(inplace=True)]
    return nn.Sequential(*layers)


@torch.no_grad()
def denoise_image(model: SpeckleDenoiser, rgb: NDArray[np.uint8], tile: int = TILE) -> NDArray[np.uint8]:
    """Denoise one picture, uint8 RGB [H, W, 3], where the model is; returns the same shape and type.

    A side above `tile` pixels (a multiple of the model's stride) is cut into tiles with `margin` pixels of surround:
    the result is that of the whole picture.
    """
    device = next(model.parameters()).device
    whole = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].to(device)
    height, width = rgb.shape[:2]
    result = np.empty_like(rgb)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            above, before = min(top, model.margin), min(left, model.margin)
            rows = slice(top - above, min(top + tile + model.margin, height))
            columns = slice(left - before, min(left + tile + model.margin, width))
            clean = model(whole[..., rows, columns].float() / 255)[0, :, above:, before:][:, :tile, :tile]
            pixels = (clean.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            result[top : top + tile, left : left + tile] = pixels
    return result


def load_denoiser(
    path: str | Path, device: str | torch.device = "cpu"
) -> tuple[SpeckleDenoiser, Config, dict[str, Any]]:
    """Load a denoiser's checkpoint into a model in eval mode.

    `path` is a weights file, or a run folder, whose best weights are taken. Returns the model, the settings it was
    trained with, and a dict with "weights", "epoch", "split", "run" and "weights_sha256". Raises InputError for
    anything that is not a denoiser's checkpoint.
    """
    path = Path(path)
    file = path / "best.pt" if path.is_dir() else path
    checkpoint = read_checkpoint(file)
    check_task(checkpoint, DENOISE, str(file))
    config = checkpoint_config(checkpoint, str(file))
    model = SpeckleDenoiser(config.denoise.width, config.denoise.levels)
    state = averaged_state(checkpoint, str(file))
    load_state(model, state, str(file))
    known = {key: checkpoint.get(key) for key in ("epoch", "split", "run")}
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] a third faster on a CPU
    return model.eval(), config, {"weights": str(file), "weights_sha256": weights_hash(state), **known}


def require_same_net(config: Config, trained: Config, weights: str) -> None:
    """Raise InputError when `config` asks for another net than the one `weights` were `trained` for."""
    for key in ("width", "levels"):
        asked, has = getattr(config.denoise, key), getattr(trained.denoise, key)
        if asked != has:
            raise InputError(f"denoise.{key} = {asked}: cannot be overridden, {weights} was trained with {has}")
