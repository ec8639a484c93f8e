"""Where a run's first weights come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError
from models.backbone import build_detector
from models.sre_yolo import SREYOLO
from training import stages
from training.stages import initialise

CONFIG = load_config("configs/train.yaml", ["sr_decoder=none"])


def first_weight(model: torch.nn.Module) -> torch.Tensor:
    return next(model.parameters()).detach().clone()


def test_null_keeps_random_weights() -> None:
    model = SREYOLO(CONFIG)
    before = first_weight(model)
    assert "random" in str(initialise(model, override_config(CONFIG, ["pretrain=null"]), None))
    assert torch.equal(first_weight(model), before)


def test_weights_override_pretrain_and_the_sentence_says_what_was_not_taken(tmp_path: Path) -> None:
    source = build_detector("yolov8n", 80)
    torch.save({"model": source}, tmp_path / "w.pt")
    model = SREYOLO(CONFIG)
    start = initialise(model, CONFIG, str(tmp_path / "w.pt"))
    assert torch.equal(first_weight(model), first_weight(source))
    assert "319 tensors taken, 36 left at random: model.22.cv3.* of the class head (36 tensors; " in str(start)
    assert "model.22.cv3.2.2.bias is [1] here, [80] in the file" in str(start)
    assert len(start.record()["not_taken"]) == 36


def test_coco_comes_from_the_weights_folder(tmp_path: Path) -> None:
    torch.save({"model": build_detector("yolov8n", 80)}, tmp_path / "yolov8n.pt")
    start = initialise(SREYOLO(CONFIG), override_config(CONFIG, [f"run.weights_dir='{tmp_path}'"]), None)
    assert str(tmp_path / "yolov8n.pt") in str(start)


def test_coco_without_file_and_network_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(detector: str, weights_dir: str) -> Path:
        raise InputError(f"pretrain = coco: {weights_dir}/{detector}.pt is not there")

    monkeypatch.setattr(stages, "coco_weights", refuse)
    with pytest.raises(InputError, match=r"yolov8n\.pt is not there"):
        initialise(SREYOLO(CONFIG), override_config(CONFIG, [f"run.weights_dir='{tmp_path}'"]), None)
