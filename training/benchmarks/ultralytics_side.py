"""Ultralytics' own trainer on our prepared frames, set as near to ours as its settings go.

What stays different: it zooms and shifts every sample (ours with the probabilities `scale_p` and `shift_p`), recolours
the grey fill too, multiplies its loss by the batch size before it clips gradients at 10, and loads on into the next
epoch. On a CPU it loads in the training process, without channels-last and in fp32: it allows nothing else there.
`deterministic` is off, as on our side. On a CPU it sets its own number of threads, the cores but one and at most 8.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
import yaml

from data_utils.config.sections import Config
from data_utils.files import write_text
from data_utils.processes import loader_processes
from models.backbone import BACKBONES, ultralytics_module

UNLIMITED = 100_000  # epochs of patience, batches


def write_data_file(config: Config, split: int, folder: Path) -> Path:
    """Describe a copied set (see `copy_frames`) the way ultralytics reads it; returns the YAML file."""
    lists = {part: str(config.dataset.split_list(split, part)) for part in ("train", "val")}
    content = {"path": str(folder), **lists, "names": dict(enumerate(config.dataset.names))}
    write_text(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False))
    return folder / "data.yaml"


def ultralytics_settings(config: Config, precision: str, device: str) -> dict[str, Any]:
    """Translate our settings into the trainer's; precision is fp32, or bf16 on CUDA only.

    bf16 also skips its fp16 check, which would fetch weights from the network.
    """
    augment, optim = config.augment, config.optim
    return {
        "model": BACKBONES.get(config.model.detector, config.model.detector), "pretrained": False,
        "epochs": config.epochs, "batch": config.batch_size, "imgsz": config.imgsz_lr, "seed": config.seed,
        "patience": UNLIMITED, "device": "0" if device == "cuda" else device,
        "workers": loader_processes(config.run.workers, UNLIMITED),
        "amp": "bf16" if precision == "bf16" else False, "deterministic": False, "cache": "ram", "plots": False,
        "compile": config.run.compile, "verbose": False, "exist_ok": True,
        "optimizer": config.optimizer, "lr0": config.lr0, "lrf": config.lrf, "cos_lr": True,
        "momentum": optim.momentum, "weight_decay": optim.weight_decay, "nbs": config.batch_size * optim.accumulate,
        "warmup_epochs": optim.warmup_epochs, "warmup_momentum": optim.momentum, "warmup_bias_lr": 0.0,
        "box": config.c2, "dfl": config.c3, "cls": config.c4,
        "fliplr": augment.flip, "flipud": 0.0, "scale": augment.scale, "translate": augment.shift,
        "mosaic": augment.mosaic, "close_mosaic": augment.close_mosaic, "mixup": 0.0, "cutmix": 0.0, "copy_paste": 0.0,
        "hsv_h": augment.hsv_h, "hsv_s": augment.hsv_s, "hsv_v": augment.hsv_v,
        "degrees": 0.0, "shear": 0.0, "perspective": 0.0, "bgr": 0.0, "erasing": 0.0,
    }  # fmt: skip


def train_ultralytics(
    config: Config,
    split: int,
    folder: Path,
    name: str,
    *,
    precision: str,
    device: str,
    save: bool,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train from scratch under `folder`/`name`; returns {"images_per_s": [each epoch], "last": weights file}.

    An epoch's images/s count loading. threads: of the training, instead of the number it sets itself. Nothing is
    validated, not even at the end, and only with `save` is there a weights file.
    """
    base = ultralytics_module("models.yolo.detect.train").DetectionTrainer

    class Trainer(base):
        """Its trainer, without reading its table of results back for the checkpoint: that needs one package more."""

        def read_results_csv(self) -> dict[str, Any]:
            return {}

        def validate(self) -> Any:
            return {}, 0.0

        def save_model(self) -> Any:
            return super().save_model() if save else None

        def final_eval(self) -> None:
            """Leave the checkpoints as the last epoch left them."""

    settings = ultralytics_settings(config, precision, device)
    data = write_data_file(config, split, folder)
    trainer = Trainer(overrides={**settings, "data": str(data), "project": str(folder), "name": name, "val": False})
    clock = _EpochClock()
    if threads:
        trainer.add_callback("on_train_start", lambda _trainer: torch.set_num_threads(threads))
    trainer.add_callback("on_train_epoch_start", clock.start)
    trainer.add_callback("on_train_epoch_end", clock.stop)
    trainer.train()
    return {"images_per_s": clock.images_per_s, "last": str(folder / name / "weights" / "last.pt")}


class _EpochClock:
    """Times epochs from their first loading to their last step."""

    def __init__(self) -> None:
        self.images_per_s: list[float] = []
        self._started = 0.0

    def start(self, _trainer: Any) -> None:
        self._started = time.perf_counter()

    def stop(self, trainer: Any) -> None:
        if trainer.device.type == "cuda":
            trainer.accelerator.synchronize()
        self.images_per_s.append(len(trainer.train_loader.dataset) / (time.perf_counter() - self._started))
