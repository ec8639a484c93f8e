"""Where a run's first weights come from: random, the official COCO weights, or a file."""

from __future__ import annotations

from pathlib import Path

from data_utils.config_sections import Config
from models.sre_yolo import SREYOLO
from models.weights import coco_weights, load_pretrained


def initialise(model: SREYOLO, config: Config, weights: str | None) -> str:
    """Initialise the detector from `weights` if given, else as `pretrain` says; returns a sentence for the log.

    The branch keeps its random (Kaiming) weights. Raises InputError when a file is missing or does not fit.
    """
    source = weights or config.pretrain
    if source is None:
        return "detector: random weights (Kaiming)"
    path = coco_weights(config.model.detector, config.run.weights_dir) if source == "coco" else Path(source)
    transfer = load_pretrained(model.backbone.detector, path)
    return f"detector: {path} ({transfer})"
