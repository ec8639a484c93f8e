"""One pass of a model over a loader: every frame's truth and detections in pixels of the original frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_utils.config.loading import config_hash
from data_utils.config.sections import Config
from data_utils.lists import read_crowd
from data_utils.manifest import ManifestRow, unit_of
from data_utils.records import FloatArray, FrameResult, cxcywhn_to_xyxy
from evaluation.cost import eval_mode
from evaluation.image_quality import ReconstructionQuality
from evaluation.passes.evaluation_set import EvaluationSet, label_of, open_evaluation_set, require_unseen
from evaluation.passes.stored import list_hash, prediction_path, store
from evaluation.statistics.headline import Scoring
from models.precision import autocast
from models.predictor import map_to_frame, postprocess
from models.sre_yolo import SREYOLO

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


# Run a checkpoint over a set of frames and store what it finds; see evaluation/passes/stored.py.


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready to run, with the file it came from, what that file says of itself, and where it runs."""

    model: nn.Module
    weights: Path
    meta: Mapping[str, Any]
    device: torch.device


def run_and_store(
    loaded: LoadedModel,
    config: Config,
    split: int,
    data: str,
    folder: Path,
    progress: bool = False,
    with_quality: bool = False,
) -> tuple[Path, EvaluationSet, ReconstructionQuality | None]:
    """Detect in every frame of `data`, store it in `folder`, and return the file, the set, and SR quality if asked."""
    evaluated = open_evaluation_set(config, split, data)
    require_unseen(evaluated, config, data, split, loaded.meta.get("split"))
    n_frames = len(evaluated.loader.dataset)
    quality = ReconstructionQuality(config.run.sr_metric_frames, n_frames) if with_quality else None
    results = predict(
        loaded.model, evaluated.loader, loaded.device, config, evaluated.sizes, quality=quality, progress=progress
    )
    about = {
        "weights": str(loaded.weights),
        "weights_sha256": loaded.meta["weights_sha256"],
        "epoch": loaded.meta["epoch"],
        "trained_split": loaded.meta.get("split"),
        "run": loaded.meta.get("run"),
        "precision": "fp32",  # on every device, so that a checkpoint scores alike wherever it is evaluated
        "notes": list(evaluated.notes),
    }
    path = store_pass(folder, results, config, split, data, evaluated.sizes, about)
    return path, evaluated, quality


def store_pass(
    folder: Path,
    results: Sequence[FrameResult],
    config: Config,
    split: int,
    data: str,
    sizes: Mapping[str, ManifestRow],
    about: Mapping[str, Any],
) -> Path:
    """Store one pass over `data` in `folder`; return the prediction file.

    about: what only the caller knows: weights (path), weights_sha256, epoch, notes.
    """
    label = label_of(config, split, data)
    about = describe_pass(results, config, split, data, sizes) | dict(about)
    path = prediction_path(folder, f"{Path(about['weights']).stem}_{label}")
    store(path, results, about)
    return path


def describe_pass(
    results: Sequence[FrameResult],
    config: Config,
    split: int,
    data: str,
    sizes: Mapping[str, ManifestRow],
) -> dict[str, Any]:
    """Return the part of a prediction file's first line that does not depend on the weights file."""
    return {
        "data": data,
        "label": label_of(config, split, data),
        "split": split,
        "list_sha256": list_hash((result.stem for result in results), sizes),
        "unit": unit_of(sizes[result.stem] for result in results if result.stem in sizes),
        "imgsz": config.imgsz_lr,
        "conf_thresh": config.conf_thresh,
        "config_sha256": config_hash(config),
        "results_dir": str(Path(config.run.results_dir).absolute()),
        "scoring": Scoring.of(config).as_dict(),
    }


# One pass over validation frames that looks at the SR output alone.


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
