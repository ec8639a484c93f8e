"""Run a checkpoint over a set of frames and store what it finds; see evaluation/prediction_file.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data_utils.config import config_hash
from data_utils.config_sections import Config
from data_utils.manifest import ManifestRow, unit_of
from data_utils.types import FrameResult
from evaluation.evaluation_set import EvaluationSet, label_of, open_evaluation_set, require_unseen
from evaluation.headline import Scoring
from evaluation.image_quality import ReconstructionQuality
from evaluation.prediction_file import list_hash, prediction_path, store
from evaluation.predictions import predict


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
