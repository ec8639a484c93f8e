"""One pass of a model over a loader: every frame's truth and detections in pixels of the original frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_utils.boxes import cxcywhn_to_xyxy
from data_utils.config_sections import Config
from data_utils.manifest import ManifestRow
from data_utils.splitting.split_list import read_crowd
from data_utils.types import FloatArray, FrameResult
from evaluation.benchmark import eval_mode
from evaluation.image_quality import ReconstructionQuality
from models.precision import autocast
from models.predictor import map_to_frame, postprocess

Sizes = Mapping[str, ManifestRow]  # by stem: original size and patient of each frame
ASSUMED_SIZE, NON_FINITE = "assumed_size", "non_finite"  # keys of FrameResult.extra


def predict(
    model: nn.Module,
    loader: Iterable[Mapping[str, Any]],
    device: torch.device | str,
    config: Config,
    sizes: Sizes | None = None,
    *,
    precision: str = "fp32",
    quality: ReconstructionQuality | None = None,
    progress: bool = False,
) -> list[FrameResult]:
    """Detect in every frame of `loader`; one result for each, in the loader's order. The model's mode is kept.

    A batch is {"lr_image" [B, 3, S, S] RGB, float in [0, 1] or uint8, "labels" float [N, 6] (index in batch, class, cx,
    cy, w, h, normalised), "img_path" list[str], optionally "hr_image" [B, 3, 2S, 2S]}. Scores above
    `config.conf_thresh` go through class-aware NMS (`config.eval`). A frame that `sizes` does not know is taken to be
    imgsz_hr pixels wide and high; its result says so in `extra`, and so does one whose network output is not finite.
    `precision` is fp32, or bf16 or fp16 for autocast. `quality` is fed with SR outputs on the way, where it is given
    and there are a branch and HR frames.
    """
    device = torch.device(device)
    results: list[FrameResult] = []
    with eval_mode(model), torch.no_grad(), _bar(loader, progress) as batches:
        for batch in batches:
            lr_image = as_float(batch["lr_image"], device)
            with autocast(precision, device):
                raw = model(lr_image, inference=True)
            if quality is not None and "hr_image" in batch:
                _compare(model, lr_image, batch, quality, first=len(results), precision=precision)
            results += _frame_results(raw.float().cpu().numpy(), batch, config, sizes or {})
    return results


def as_float(image: Tensor, device: torch.device) -> Tensor:
    """Move images to `device` as float32 in [0, 1]; uint8 in [0, 255] travels as it is and is divided there."""
    image = image.to(device, non_blocking=True)
    return image.float().div_(255) if image.dtype == torch.uint8 else image.float()


def _compare(
    model: nn.Module,
    lr_image: Tensor,
    batch: Mapping[str, Any],
    quality: ReconstructionQuality,
    first: int,
    precision: str,
) -> None:
    chosen = quality.chosen(first, len(lr_image))
    if not chosen or getattr(model, "sr_branch", None) is None:
        return
    lr_image = lr_image[chosen]
    with autocast(precision, lr_image.device):
        sr_output = model(lr_image)["sr_output"]
    stems = [Path(batch["img_path"][i]).stem for i in chosen]
    quality.update(stems, lr_image, sr_output, as_float(batch["hr_image"][chosen], lr_image.device))


def _frame_results(raw: FloatArray, batch: Mapping[str, Any], config: Config, sizes: Sizes) -> list[FrameResult]:
    labels = np.asarray(batch["labels"], dtype=np.float64).reshape(-1, 6)
    input_size = (int(batch["lr_image"].shape[-1]), int(batch["lr_image"].shape[-2]))
    results = []
    for index, image_path in enumerate(batch["img_path"]):
        stem = Path(image_path).stem
        row = sizes.get(stem)
        original_size = (row.width, row.height) if row else (config.imgsz_hr, config.imgsz_hr)
        found = postprocess(raw[index], config.conf_thresh, config.eval.nms_iou, config.eval.max_det)
        own = labels[labels[:, 0] == index]
        crowd = read_crowd(image_path, config.dataset.nc)
        extra = {} if row else {ASSUMED_SIZE: f"{config.imgsz_hr}x{config.imgsz_hr}"}
        if not np.isfinite(raw[index]).all():
            extra[NON_FINITE] = "left out"
        results.append(
            FrameResult(
                stem=stem,
                detections=map_to_frame(found, input_size, original_size),
                truth_xyxy=cxcywhn_to_xyxy(own[:, 2:], *original_size),
                truth_class_ids=own[:, 1].astype(np.int64),
                original_size=original_size,
                input_size=input_size,
                patient_id=row.patient_id if row else "unknown",
                extra=extra,
                group=row.group if row else "",
                source=row.dataset_source if row else "unknown",
                modality=row.modality if row else "unknown",
                crowd_xyxy=cxcywhn_to_xyxy(crowd.boxes_cxcywhn, *original_size),
                crowd_class_ids=crowd.class_ids,
            )
        )
    return results


def _bar(loader: Iterable[Mapping[str, Any]], progress: bool) -> Any:
    if not progress:
        return nullcontext(loader)
    from tqdm import tqdm

    return tqdm(loader, desc="evaluating", unit="batch", leave=False, disable=None)
