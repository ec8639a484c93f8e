"""Training of the denoiser in the detector's loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PreparedSet
from stopped_runs import different_fields, log_rows, stop_in_epoch

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.checkpoint import read_checkpoint
from models.denoiser import load_denoiser
from training.loop import TrainingLoop
from training.tasks.denoise import DenoiseLoss, DenoiseTrainer

SMALL = (
    *("denoise.width=8", "denoise.levels=1", "denoise.crop=32", "denoise.eval_frames=3", "batch_size=4"),
    *("lr0=0.01", "optim.warmup_epochs=0", "run.precision=fp32", "optim.ema_decay=0.9", "optim.ema_tau=10"),
)


@pytest.fixture
def config(tiny_prepared: PreparedSet, tmp_path: Path) -> Config:
    outputs = (f"run.results_dir='{tmp_path / 'results'}'", f"run.weights_dir='{tmp_path / 'weights'}'")
    return override_config(tiny_prepared.config, [*SMALL, *outputs])


def train(config: Config, **options: Any) -> tuple[DenoiseTrainer, dict[str, Any]]:
    trainer = DenoiseTrainer(config, device="cpu", wandb_off=True, **options)
    return trainer, trainer.fit()


def test_there_is_no_second_loop() -> None:
    loop = ("fit", "_train_one_epoch", "_step", "_validate", "_finish_epoch", "_close")
    assert [name for name in loop if getattr(DenoiseTrainer, name) is not getattr(TrainingLoop, name)] == []


def test_the_loss_is_the_mean_absolute_error() -> None:
    output = torch.full((2, 3, 4, 4), 0.5)
    loss = DenoiseLoss()(output, output + torch.tensor([0.1, -0.3]).reshape(2, 1, 1, 1))
    assert loss["total_loss"].item() == pytest.approx(0.2)


@pytest.mark.integration
def test_a_few_epochs_take_noise_away_and_leave_a_run(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config = override_config(config, ["epochs=5", "run.fixed_copies=true"])
    trainer, result = train(config)
    names = {path.name for path in trainer.run_dir.iterdir()}
    assert names >= {"config.yaml", "run.json", "log.csv", "log.jsonl", "best.pt", "last.pt", "loss_curves.png"}
    rows = log_rows(trainer.run_dir)
    assert float(rows[-1]["psnr"]) > float(rows[-1]["psnr_noisy"]) + 1
    assert len({row["psnr_noisy"] for row in rows}) == 1  # the same noise each time
    assert result["psnr"] == pytest.approx(max(float(row["psnr"]) for row in rows), rel=1e-5)
    _, its_config, meta = load_denoiser(trainer.run_dir)
    assert its_config == config
    assert (meta["epoch"], meta["split"]) == (result["best_epoch"], 1)
    assert not Path(config.run.weights_dir).exists()  # the fixed names are the detector's
    assert trainer.run_dir.name.startswith("tiny_split1_denoise_")
    assert "--apply" in trainer.closing_lines(result)
    assert "1 levels from width 8" in trainer.describe()
    assert "PSNR " in capsys.readouterr().out


@pytest.mark.integration
def test_a_resumed_run_ends_like_an_uninterrupted_one(config: Config) -> None:
    config = override_config(config, ["epochs=3", "optim.accumulate=2"])
    whole, _ = train(override_config(config, ["run.name=whole"]))
    cut = override_config(config, ["run.name=cut"])
    stopped = DenoiseTrainer(cut, device="cpu", wandb_off=True)
    stop_in_epoch(stopped, 2)
    resumed, _ = train(cut, resume=stopped.run_dir)
    assert different_fields(whole.run_dir, resumed.run_dir) == set()


def test_training_can_start_from_a_denoiser_of_the_same_net(config: Config) -> None:
    first = DenoiseTrainer(override_config(config, ["epochs=1"]), device="cpu", wandb_off=True)
    first.fit()
    weights = str(first.run_dir / "best.pt")
    second = DenoiseTrainer(config, device="cpu", weights=weights)
    expected = read_checkpoint(weights)["model"]
    assert all(torch.equal(value, expected[name]) for name, value in second.model.state_dict().items())
    with pytest.raises(InputError, match="another class count or architecture"):
        DenoiseTrainer(override_config(config, ["denoise.width=6"]), device="cpu", weights=weights)
