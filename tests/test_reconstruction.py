"""PSNR of the SR output over validation frames."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evaluation.passes.predict import measure_reconstruction


class Grey(nn.Module):
    """Answers every frame with one grey."""

    def forward(self, lr_image: Tensor) -> dict[str, Any]:
        assert not self.training
        side = 2 * lr_image.shape[-1]
        return {"predictions": None, "sr_output": torch.full((len(lr_image), 3, side, side), 0.6)}


class Loader(list):
    """Batches, and the number of frames as a loader says it."""

    dataset: Any


def loader(hr_greys: list[float]) -> Loader:
    batches = Loader(
        {
            "lr_image": torch.full((len(part), 3, 16, 16), 0.5),
            "hr_image": torch.stack([torch.full((3, 32, 32), grey) for grey in part]),
            "img_path": [f"{grey}.jpg" for grey in part],
        }
        for part in (hr_greys[:3], hr_greys[3:])
    )
    batches.dataset = hr_greys
    return batches


def test_the_mean_is_over_frames_evenly_spread_over_all_batches() -> None:
    model: Any = Grey().train()
    found = measure_reconstruction(model, loader([0.5, 0.7, 0.5, 0.5]), "cpu", limit=4).means()
    assert found["psnr"] == pytest.approx(20)  # 0.1 off everywhere
    assert found["psnr_bicubic"] == pytest.approx((3 * 100 + 10 * torch.log10(torch.tensor(25.0)).item()) / 4, abs=1e-3)
    assert model.training
    spread = loader([0.6, 0.1, 0.6, 0.1])
    half = measure_reconstruction(model, spread, "cpu", limit=2).means()  # the first and the third
    assert half["psnr"] == 100
