"""Training batches at sides of their own."""

from __future__ import annotations

import pytest
import torch
from conftest import PreparedSet

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError
from training.trainer import Trainer, resized, side_of_batch

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_sides_are_multiples_of_32_around_the_input_and_follow_from_the_seed() -> None:
    config = load_config("configs/train.yaml", ["sr_decoder=none", "augment.multi_scale=0.1"])
    sides = [side_of_batch(config, batch) for batch in range(200)]
    assert set(sides) == {576, 608, 640, 672, 704}
    assert sides == [side_of_batch(config, batch) for batch in range(200)]
    other = override_config(config, ["seed=1"])
    assert sides != [side_of_batch(other, batch) for batch in range(200)]


def test_without_it_every_batch_keeps_its_side() -> None:
    config = load_config("configs/train.yaml")
    assert {side_of_batch(config, batch) for batch in range(20)} == {640}
    images = torch.rand(2, 3, 64, 64)
    assert resized(images, 64) is images


def test_the_picture_is_enlarged_not_cut() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[..., 32:] = 1
    larger = resized(images, 96)
    assert larger.shape == (1, 3, 96, 96)
    assert larger[..., :44].max() == 0
    assert larger[..., 52:].min() == 1


def test_a_branch_is_built_for_one_side() -> None:
    with pytest.raises(InputError, match=r"augment.multi_scale = 0.5: .*sr_decoder=none"):
        load_config("configs/train.yaml", ["augment.multi_scale=0.5"])


def test_the_trainer_feeds_the_detector_at_the_drawn_side(
    tiny_prepared: PreparedSet, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["sr_decoder=none", "augment.multi_scale=0.5", f"run.results_dir='{tmp_path}'"]
    config = override_config(tiny_prepared.config, settings)
    trainer = Trainer(config, device="cpu", wandb_off=True)
    try:
        seen = []
        monkeypatch.setattr(trainer, "criterion", lambda *_: {})
        monkeypatch.setattr(trainer, "model", lambda images, windows: seen.append(images.shape[-1]))
        batch = next(iter(trainer.train_loader))
        for number in range(12):
            trainer.progress.batches = number
            trainer._terms_of(batch)
        assert seen == [side_of_batch(config, number) for number in range(12)]
        assert set(seen) == {32, 64, 96}
    finally:
        trainer.lock.release()
