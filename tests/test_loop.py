"""The training loop's own promises: what a run may be resumed as, and that older checkpoints still can be.

tests/test_trainer.py and tests/test_denoise_task.py hold the rest on the two things that are trained.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import PreparedSet
from stopped_runs import stop_in_epoch

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.checkpoint import read_checkpoint, write_checkpoint
from training.tasks.denoise import DenoiseTrainer
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_pictures")
SMALL = (
    *("denoise.width=4", "denoise.levels=1", "denoise.crop=16", "denoise.eval_frames=2", "batch_size=8", "lr0=0.003"),
    *("run.precision=fp32", "run.name=mine", "sr_decoder=none", "run.panel_every=0"),
)


@pytest.fixture
def config(tiny_prepared: PreparedSet, tmp_path: Path) -> Config:
    return override_config(tiny_prepared.config, [*SMALL, f"run.results_dir='{tmp_path / 'results'}'"])


def stopped_after_one_epoch(config: Config, trainer_class: Any) -> Path:
    """Train one epoch of two and let the second one fail; return the run's folder."""
    trainer = trainer_class(override_config(config, ["epochs=2"]), device="cpu", wandb_off=True)
    stop_in_epoch(trainer, 2)
    return trainer.run_dir


def test_a_run_goes_on_only_under_its_task(config: Config) -> None:
    run_dir = stopped_after_one_epoch(config, DenoiseTrainer)
    assert json.loads((run_dir / "run.json").read_text())["task"] == "denoise"
    with pytest.raises(InputError, match=r"made by python -m training\.denoise, for denoise; this needs detection"):
        Trainer(override_config(config, ["epochs=2"]), device="cpu", resume=run_dir)


@pytest.mark.integration
def test_a_checkpoint_of_an_earlier_version_goes_on(config: Config) -> None:
    run_dir = stopped_after_one_epoch(config, Trainer)
    older = read_checkpoint(run_dir / "last.pt")
    del older["task"], older["format"]
    older["progress"]["best_ap50"] = older["progress"].pop("best_score")
    del older["config"]["denoise"]  # settings it could not know have their defaults
    for key in ("config_hash", "data", "lists", "code", "versions", "wandb_id"):
        del older[key]
    older["progress"]["best_ap50"] = 0.75
    write_checkpoint(run_dir / "last.pt", older)
    defaults = override_config(config, ["epochs=2", "denoise={width: 32, levels: 3, crop: 128, eval_frames: 64}"])
    with pytest.raises(InputError, match="not recorded in this checkpoint: data, lists, code, versions, config_hash"):
        Trainer(defaults, device="cpu", resume=run_dir, wandb_off=True)
    resumed = Trainer(defaults, device="cpu", resume=run_dir, wandb_off=True, accept_changes=True)
    assert (resumed.progress.epoch, resumed.progress.best_score) == (1, 0.75)
    result = resumed.fit()
    assert (result["epochs_trained"], result["ap50"], result["best_epoch"]) == (2, 0.75, 1)
    with open(run_dir / "log.csv", encoding="utf-8", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_other_settings_are_not_resumed(config: Config) -> None:
    run_dir = stopped_after_one_epoch(config, DenoiseTrainer)
    with pytest.raises(InputError, match=r"settings: denoise\.grain 0\.0 -> 1"):
        DenoiseTrainer(override_config(config, ["epochs=2", "denoise.grain=1"]), device="cpu", resume=run_dir)
