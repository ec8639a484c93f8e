"""Everything a checkpoint holds is needed: dropping any of it must be seen in how the resumed run ends."""

from __future__ import annotations

import copy
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped_runs import different_fields, same, stop_in_epoch
from torch import Tensor

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.checkpoint import read_checkpoint, write_checkpoint
from training.run.state import FIELDS
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_pictures")
SMALL = (
    *("sr_decoder=light", "model.branch_width=8", "model.fusion_stride=8", "optim.warmup_epochs=0", "lr0=0.001"),
    *("run.precision=fp32", "run.panel_every=0", "epochs=3", "batch_size=8", "eval.batch_size=16"),
)
# A part of the state -> what of the end differs without it. "refused": the run does not go on.
PARTS = {
    "model": "model", "ema": "ema", "ema_updates": "ema", "optimizer": "optimizer", "scaler": "scaler",
    "progress.step": "progress", "progress.batches": "progress", "progress.best_score": "progress",
    "progress.best_epoch": "progress", "progress.epoch": "refused", "epoch": "refused",
    "random.python": "model", "random.numpy": "model", "random.torch": "model", "wandb_id": "wandb_id",
    "config": "refused", "config_hash": "refused", "data": "refused", "lists": "refused", "code": "refused",
    "versions": "refused",
}  # fmt: skip


class NoisyTrainer(Trainer):
    """Draws from every generator in each step, and scales its gradients, so that none of that state is idle."""

    def __init__(self, config: Config, **options: Any) -> None:
        super().__init__(config, device="cpu", wandb_off=True, **options)

    def _new_criterion(self) -> Any:
        self.precision = "fp16"  # for the scaler alone, which fp32 runs do not need
        return super()._new_criterion()

    def _terms_of(self, batch: Any) -> dict[str, Tensor]:
        self.precision = "fp32"
        terms = super()._terms_of(batch)
        draws = random.random() + np.random.random() + float(torch.rand(()))  # noqa: NPY002 the global generators
        return {**terms, "total_loss": terms["total_loss"] * (1 + draws)}


@pytest.fixture(scope="module")
def config(few_frames: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("parts")
    return override_config(few_frames, [*SMALL, f"run.results_dir='{folder / 'results'}'"])


@pytest.fixture(scope="module")
def whole(config: Config) -> Path:
    trainer = NoisyTrainer(override_config(config, ["run.name=whole"]))
    trainer.fit()
    return trainer.run_dir


@pytest.fixture(scope="module")
def stopped(config: Config) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A run stopped in its third epoch, its saved state, and the state it had before the first."""
    trainer = NoisyTrainer(override_config(config, ["run.name=stopped"]))
    start = read_checkpoint(trainer.run_dir / "last.pt")
    stop_in_epoch(trainer, 3)
    return trainer.run_dir, read_checkpoint(trainer.run_dir / "last.pt"), start


def ends_differently(
    config: Config, whole: Path, stopped: tuple[Path, dict[str, Any], Any], changed: dict[str, Any], name: str
) -> set[str]:
    """Resume a copy of the stopped run from `changed` and return what ended otherwise than in the uninterrupted run."""
    run_dir = whole.parent / name
    shutil.copytree(stopped[0], run_dir)
    write_checkpoint(run_dir / "last.pt", changed)
    try:
        trainer = NoisyTrainer(override_config(config, [f"run.name={name}"]), resume=run_dir)
    except InputError:
        return {"refused"}
    trainer.fit()
    kept = read_checkpoint(run_dir / "last.pt")["wandb_id"] == stopped[1]["wandb_id"]
    return different_fields(whole, run_dir) | (set() if kept else {"wandb_id"})


@pytest.mark.integration
def test_with_all_of_its_state_a_run_ends_as_it_would_have(config: Config, whole: Path, stopped: Any) -> None:
    assert set(stopped[1]) >= {name.partition(".")[0] for name in PARTS} >= set(FIELDS)
    assert ends_differently(config, whole, stopped, stopped[1], "complete") == set()


@pytest.mark.integration
@pytest.mark.parametrize("part", PARTS)
def test_without_one_part_of_its_state_it_does_not(config: Config, whole: Path, stopped: Any, part: str) -> None:
    """As if the part had not been saved: it has the value it had before the first epoch, or is empty."""
    _, saved, start = stopped
    changed, (field, _, inner) = copy.copy(saved), part.partition(".")
    if PARTS[part] == "refused" or field == "wandb_id":
        changed[field] = {**saved[field], inner: 0} if inner else type(saved[field])()
    else:
        changed[field] = {**saved[field], inner: start[field][inner]} if inner else start[field]
    assert PARTS[part] in ends_differently(config, whole, stopped, changed, part)


@pytest.mark.parametrize("field", FIELDS)
def test_a_checkpoint_that_lacks_a_part_is_refused(config: Config, stopped: Any, field: str) -> None:
    run_dir = stopped[0].parent / f"lacks_{field}"
    shutil.copytree(stopped[0], run_dir)
    write_checkpoint(run_dir / "last.pt", {key: value for key, value in stopped[1].items() if key != field})
    with pytest.raises(InputError, match=f"it lacks {field}"):
        NoisyTrainer(override_config(config, [f"run.name=lacks_{field}"]), resume=run_dir)


@pytest.mark.integration
def test_changed_optimiser_settings_take_effect_and_another_optimiser_is_refused(config: Config, stopped: Any) -> None:
    run_dir = stopped[0].parent / "accepted"
    shutil.copytree(stopped[0], run_dir)
    changes = ["run.name=accepted", "optim.weight_decay=0.5", "optim.lr_backbone=0.5", "optim.lr_head=0.5"]
    changes += ["optim.lr_branch=0.5"]  # the same two groups, so that their state fits
    resumed = NoisyTrainer(override_config(config, changes), resume=run_dir, accept_changes=True)
    resumed.lock.release()
    decayed = resumed.optimizer.param_groups[0]
    assert (decayed["weight_decay"], decayed["lr_factor"]) == (0.5, 0.5)
    assert same(resumed.optimizer.state_dict()["state"], stopped[1]["optimizer"]["state"])
    with pytest.raises(InputError, match="they are of another optimizer"):
        NoisyTrainer(override_config(config, ["optimizer=SGD"]), resume=run_dir, accept_changes=True)


@pytest.mark.integration
@pytest.mark.parametrize(("workers", "edge"), [(0, 1), (2, 2), (4, 1)])
def test_any_epoch_edge_with_any_number_of_loader_processes(config: Config, workers: int, edge: int) -> None:
    settings = override_config(config, ["optim.accumulate=2", "batch_size=4", "augment.close_mosaic=1"])
    runs = Path(config.run.results_dir) / "runs"
    if not (runs / "edges").exists():
        Trainer(override_config(settings, ["run.name=edges"]), device="cpu", wandb_off=True).fit()
    mine = override_config(settings, [f"run.name=edge_{workers}_{edge}", f"run.workers={workers}"])
    stop_in_epoch(Trainer(mine, device="cpu", wandb_off=True), edge + 1)
    Trainer(mine, device="cpu", wandb_off=True, resume=runs / str(mine.run.name)).fit()
    assert different_fields(runs / "edges", runs / str(mine.run.name)) == set()
