"""One pass over validation frames that looks at the SR output alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from evaluation.benchmark import eval_mode
from evaluation.image_quality import ReconstructionQuality
from evaluation.predictions import as_float
from models.precision import autocast
from models.sre_yolo import SREYOLO


def measure_reconstruction(
    model: SREYOLO,
    loader: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    limit: int,
    *,
    precision: str = "fp32",
) -> ReconstructionQuality:
    """Measure PSNR (dB) and SSIM of the SR output, and of bicubic upsampling, on about `limit` frames.

    A batch is {"lr_image" [B, 3, S, S], "hr_image" [B, 3, 2S, 2S], RGB, float in [0, 1] or uint8, "img_path"}; the
    frames measured are evenly spread over the loader's.
    """
    device = torch.device(device)
    n_frames = len(loader.dataset)  # pyright: ignore[reportAttributeAccessIssue]
    quality, first = ReconstructionQuality(limit, n_frames), 0
    with eval_mode(model), torch.no_grad():
        for batch in loader:
            chosen = quality.chosen(first, len(batch["img_path"]))
            first += len(batch["img_path"])
            if not chosen:
                continue
            lr_image = as_float(batch["lr_image"][chosen], device)
            with autocast(precision, device):
                output = model(lr_image)
            assert isinstance(output, dict)
            stems = [Path(batch["img_path"][index]).stem for index in chosen]
            quality.update(stems, lr_image, output["sr_output"], as_float(batch["hr_image"][chosen], device))
    return quality
