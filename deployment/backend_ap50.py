"""AP50 of any backend, by the same evaluation as a checkpoint's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from data_utils.config_sections import Config
from data_utils.types import FrameResult
from evaluation.evaluation_set import EvaluationSet, open_evaluation_set
from evaluation.metrics import compute_ap50
from evaluation.predictions import predict

if TYPE_CHECKING:
    from models.predictor import Backend


class BackendModule(nn.Module):
    """A backend that can be evaluated as if it were a model on the CPU."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend

    def forward(self, images: Tensor, inference: bool = True) -> Tensor:
        """Map float32 [B, 3, S, S] to raw [B, 4+nc, A], as SREYOLO does with `inference`."""
        return torch.from_numpy(self.backend(images.numpy()))


def open_part(config: Config, split: int, part: str) -> EvaluationSet | None:
    """Open a part of the checkpoint's split, read in this process; None where it is not prepared here."""
    if not config.dataset.split_list(split, part).is_file():
        return None
    run = config.run.model_copy(update={"workers": 0, "sr_metric_frames": 0})
    return open_evaluation_set(config.model_copy(update={"run": run}), split, part)


def evaluate_backend(backend: Backend, loader: Iterable[Any], config: Config, sizes: Any) -> list[FrameResult]:
    """Detect in every frame of `loader` with evaluation's thresholds; see `evaluation.predictions.predict`."""
    return predict(BackendModule(backend), loader, "cpu", config, sizes)


def ap50_of(backend: Backend, frames: EvaluationSet, config: Config) -> float | None:
    """Return AP at IoU 0.5, the mean over the classes that have truth; None without truth."""
    return compute_ap50(evaluate_backend(backend, frames.loader, config, frames.sizes), config.dataset.nc)
