"""Picture panels: the arrays of a few validation frames, saved so that evaluation/plots.py can draw them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_utils.boxes import cxcywhn_to_xyxy
from data_utils.config_sections import Config
from data_utils.dataset import Batch
from evaluation.predictions import as_float
from models.predictor import postprocess
from models.sre_yolo import SREYOLO

PANEL_CONF = 0.25


@torch.no_grad()
def save_panel(path: Path, model: SREYOLO, batch: Batch, device: torch.device, config: Config) -> None:
    """Run `model` (eval mode) on `batch` and save lr, sr, hr (uint8 RGB), truth_xyxy and pred in LR pixels to `path`.

    truth_xyxy is float32 [n, M, 4], pred float32 [n, K, 6] (corners, score, class), both padded with NaN.
    """
    lr_image = as_float(batch["lr_image"], device)
    decoded = model(lr_image, inference=True)
    assert isinstance(decoded, Tensor)
    raws = decoded.float().cpu().numpy()
    side, labels = lr_image.shape[-1], batch["labels"].numpy()
    found = [postprocess(raw, PANEL_CONF, config.eval.nms_iou, max_det=50) for raw in raws]
    truth = [cxcywhn_to_xyxy(labels[labels[:, 0] == index, 2:], side, side) for index in range(len(raws))]
    arrays = {
        "lr": _pixels(lr_image),
        "truth_xyxy": _padded(truth, 4),
        "pred": _padded([np.column_stack([d.boxes_xyxy, d.scores, d.class_ids]) for d in found], 6),
    }
    if "hr_image" in batch:
        arrays["hr"] = _pixels(as_float(batch["hr_image"], device))
    if model.sr_branch is not None:
        output = model(lr_image)
        assert isinstance(output, dict)
        arrays["sr"] = _pixels(output["sr_output"])
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]


def _pixels(images: Tensor) -> np.ndarray:
    return (images.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def _padded(rows: list[np.ndarray], width: int) -> np.ndarray:
    padded = np.full((len(rows), max((len(r) for r in rows), default=0), width), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
