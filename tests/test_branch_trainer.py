"""Training of the branch alone, and freezing: what must not move does not, bit for bit."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PreparedSet
from torch import Tensor

from data_utils.audit import require_clean
from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.checkpoint import load_model, save_model
from models.sre_yolo import SREYOLO
from training.tasks.branch import BranchTrainer, trainer_class
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_pictures")
SMALL = (
    *("sr_decoder=light", "model.branch_width=8", "model.fusion_stride=8", "optim.warmup_epochs=0", "lr0=0.001"),
    *("run.precision=fp32", "run.panel_every=0", "batch_size=8", "optim.ema_tau=5"),
)


@pytest.fixture
def config(tiny_prepared: PreparedSet, tmp_path: Path) -> Config:
    outputs = (f"run.results_dir='{tmp_path / 'results'}'", f"run.weights_dir='{tmp_path / 'weights'}'")
    return override_config(tiny_prepared.config, [*SMALL, *outputs])


@pytest.fixture
def unlabelled(config: Config, tmp_path: Path) -> Config:
    """The same frames in a folder that holds not one label file."""
    processed, splits = tmp_path / "unlabelled", tmp_path / "splits"
    shutil.copytree(Path(config.dataset.processed), processed, ignore=shutil.ignore_patterns("labels"))
    shutil.copytree(config.dataset.splits, splits)
    for part in splits.glob("split1/*.txt"):
        part.write_text(part.read_text().replace(str(Path(config.dataset.processed)), str(processed)))
    assert not list(processed.rglob("*.txt"))
    paths = [f"dataset.processed='{processed}'", f"dataset.splits='{splits}'", "dataset.labelled=false"]
    return override_config(config, [*paths, "stages.train=branch+backbone"])


@pytest.fixture
def detector(config: Config, tmp_path: Path) -> str:
    plain = override_config(config, ["sr_decoder=none"])
    save_model(tmp_path / "detector.pt", SREYOLO(plain), plain)
    return str(tmp_path / "detector.pt")


def state_of(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before: dict[str, Tensor], model: torch.nn.Module) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def layer_of(name: str) -> int:
    return int(name.split(".")[3]) if name.startswith("backbone.") else -1


@pytest.mark.integration
def test_the_branch_alone_learns_from_frames_without_labels(unlabelled: Config, detector: str) -> None:
    config = override_config(unlabelled, ["stages.train=branch", f"pretrain={detector}", "epochs=2"])
    assert require_clean(config, 1).startswith("passed")
    trainer = trainer_class(config)(config, device="cpu", wandb_off=True)
    assert isinstance(trainer, BranchTrainer)
    before = state_of(trainer.model)
    result = trainer.fit()
    for model in (trainer.model, trainer.ema.model):
        names = moved(before, model)
        assert names
        assert all(name.startswith("sr_branch.") for name in names)
    with open(trainer.run_dir / "log.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert "ap50" not in rows[0]
    assert "l_cls" not in rows[0]
    assert float(rows[1]["l_sr"]) < float(rows[0]["l_sr"])
    assert result["psnr"] == pytest.approx(max(float(row["psnr"]) for row in rows), rel=1e-4)
    assert load_model(trainer.run_dir / "best.pt")[0].sr_branch is not None
    assert trainer.closing_lines(result).endswith(f"next: python train.py stages.branch={result['best']}")


@pytest.mark.integration
def test_with_the_backbone_the_layers_up_to_the_deeper_tap_learn(unlabelled: Config) -> None:
    trainer = trainer_class(unlabelled)(unlabelled, device="cpu", wandb_off=True)
    before = state_of(trainer.model)
    trainer.fit()
    layers = {layer_of(name) for name in moved(before, trainer.model)}
    assert layers == {-1, *range(unlabelled.sr_layers[1] + 1)}


def test_what_cannot_be_meant_is_refused(unlabelled: Config) -> None:
    with pytest.raises(InputError, match=r"stages\.train = branch with pretrain = null: .*random, frozen detector"):
        trainer_class(config := override_config(unlabelled, ["stages.train=branch"]))(config, device="cpu")
    with pytest.raises(InputError, match=r"dataset\.labelled = false: the frames of tiny have no labels"):
        Trainer(override_config(unlabelled, ["stages.train=all"]), device="cpu")
    labelled = override_config(unlabelled, ["dataset.labelled=true", "stages.train=all"])
    with pytest.raises(InputError, match="label files are missing"):
        Trainer(labelled, device="cpu")
    for freeze, decoder in ((24, "light"), (23, "none")):
        frozen = [f"optim.freeze={freeze}", f"sr_decoder={decoder}", "dataset.allow_background=true"]
        with pytest.raises(InputError, match=rf"optim\.freeze = {freeze}: of 23 detector layers none would learn"):
            Trainer(override_config(labelled, frozen), device="cpu")


@pytest.mark.integration
def test_layers_thaw_and_a_resumed_run_ends_the_same(config: Config, few_frames: Config) -> None:
    config = override_config(config, [f"dataset.splits='{few_frames.dataset.splits}'", "batch_size=4"])
    rates = ["optim.lr_backbone=0.1", "optim.weight_decay=0.1"]
    settings = ["epochs=3", "optim.freeze=5", "optim.unfreeze_epoch=3", *rates]
    whole = Recorder(override_config(config, [*settings, "run.name=whole"]), device="cpu", wandb_off=True)
    before = state_of(whole.model)
    whole.fit()
    for epoch, frozen in enumerate((True, True, False)):
        for names in whole.seen[epoch]:
            layers = {layer_of(name) for name in names}
            assert 5 in layers
            assert (layers & set(range(5)) == set()) is frozen
    assert moved(before, whole.model) >= {"backbone.detector.model.0.conv.weight"}

    for n_done in (1, 2):  # stopped before and after the layers thaw
        cut = override_config(config, [*settings, f"run.name=cut{n_done}"])
        stopped = Recorder(cut, device="cpu", wandb_off=True, stop_after=n_done)
        with pytest.raises(KeyboardInterrupt):
            stopped.fit()
        resumed = Trainer(cut, device="cpu", wandb_off=True, resume=stopped.run_dir)
        resumed.fit()
        for one, other in ((whole.model, resumed.model), (whole.ema.model, resumed.ema.model)):
            assert moved(state_of(one), other) == set()


class Recorder(Trainer):
    """Notes after each epoch what has moved in the model and in its average; stops before epoch `stop_after`."""

    def __init__(self, *arguments: Any, stop_after: int | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stop_after, self.start, self.seen = stop_after, state_of(self.model), []

    def _train_one_epoch(self, *arguments: Any) -> dict[str, Any]:
        if self.progress.epoch == self.stop_after:
            raise KeyboardInterrupt
        row = super()._train_one_epoch(*arguments)
        assert row["lr"] <= self.config.lr0
        self.seen.append([moved(self.start, self.model), moved(self.start, self.ema.model)])
        return row
