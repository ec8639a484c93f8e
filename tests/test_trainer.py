"""Training, on a tiny prepared set."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PreparedSet
from stopped_runs import different_fields, stop_in_epoch

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError, ResumableError
from models.checkpoint import load_model, read_checkpoint
from training.trainer import NonFiniteLossError, Trainer

SMALL = (
    "sr_decoder=light",
    "model.branch_width=8",
    "model.fusion_stride=8",
    "optim.warmup_epochs=0",
    "lr0=0.001",
    "run.precision=fp32",
)


@pytest.fixture
def config(tiny_prepared: PreparedSet, tmp_path: Path) -> Config:
    outputs = (f"run.results_dir='{tmp_path / 'results'}'", f"run.weights_dir='{tmp_path / 'weights'}'")
    return override_config(tiny_prepared.config, [*SMALL, *outputs])


@pytest.fixture
def short(config: Config, few_frames: Config) -> Config:
    """The same with 10 training and 4 validation frames, where several runs are compared."""
    return override_config(config, [f"dataset.splits='{few_frames.dataset.splits}'"])


def train(config: Config, **options: Any) -> tuple[Trainer, dict[str, Any]]:
    trainer = Trainer(config, device="cpu", wandb_off=True, **options)
    return trainer, trainer.fit()


@pytest.mark.integration
def test_a_run_leaves_what_it_promises(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    config = override_config(config, ["epochs=2", "run.panel_every=2", "run.fixed_copies=true"])
    trainer, result = train(config)
    run_dir = trainer.run_dir
    names = {path.name for path in run_dir.iterdir()}
    assert names >= {"config.yaml", "run.json", "log.csv", "log.jsonl", "best.pt", "last.pt", "loss_curves.png"}
    assert {path.suffix for path in (run_dir / "panels").iterdir()} == {".npz", ".png"}
    assert result["epochs_trained"] == 2
    with open(run_dir / "log.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row[name]) > 0 for row in rows for name in ("total_loss", "l_sr", "l_cls", "psnr"))
    model, its_config, meta = load_model(run_dir / "best.pt")
    assert its_config == config
    assert meta["epoch"] == result["best_epoch"]
    saved = read_checkpoint(run_dir / "best.pt")
    expected = saved["model"]
    assert saved["threshold"] is None or 0 < saved["threshold"] < 1  # None where no detection hit a lesion
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    weights, results = Path(config.run.weights_dir), Path(config.run.results_dir)
    assert (weights / "best_split1.pt").read_bytes() == (run_dir / "best.pt").read_bytes()
    assert (weights / "last_split1.pt").exists()
    assert (results / "train_log_split1.csv").read_bytes() == (run_dir / "log.csv").read_bytes()
    noted = "nothing ends the run early: patience = 50, epochs = 2"
    assert f"\nnote     {noted}" in trainer.describe()
    assert noted in json.loads((run_dir / "run.json").read_text())["switched_off"]
    assert f"next: python evaluate.py --weights {run_dir / 'best.pt'}" in trainer.closing_lines(result)
    assert capsys.readouterr().out.count("epoch ") == 2


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.integration
def test_the_same_seed_gives_the_same_weights_and_another_does_not(short: Config) -> None:
    def weights(*overrides: str) -> torch.Tensor:
        trainer, _ = train(override_config(short, overrides))
        return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])

    first = weights()
    assert torch.equal(first, weights())
    assert not torch.equal(first, weights("seed=7"))


def test_one_batch_is_learnt(config: Config) -> None:
    trainer = Trainer(override_config(config, ["augment.mosaic=0"]), device="cpu", wandb_off=True)
    batch = max(trainer.train_loader, key=lambda candidate: len(candidate["labels"]))
    trainer.model.train()
    totals, reconstructions = [], []
    for _ in range(40):
        losses = trainer._terms_of(batch)
        losses["total_loss"].backward()
        trainer._step()
        totals.append(losses["total_loss"].item())
        reconstructions.append(losses["l_sr"].item())
    assert totals[-1] < 0.5 * totals[0]
    assert reconstructions[-1] < reconstructions[0]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.integration
def test_a_resumed_run_ends_like_an_uninterrupted_one(short: Config) -> None:
    config = override_config(short, ["epochs=3", "optim.accumulate=2", "batch_size=4", "model.branch_window=0.5"])
    whole, _ = train(override_config(config, ["run.name=whole"]))

    cut = override_config(config, ["run.name=cut"])
    stopped = Trainer(cut, device="cpu", wandb_off=True)
    stop_in_epoch(stopped, 2)
    resumed, _ = train(cut, resume=stopped.run_dir)
    assert different_fields(whole.run_dir, resumed.run_dir) == set()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.integration
def test_a_finished_run_and_other_settings_are_not_resumed(short: Config) -> None:
    trainer, _ = train(short)
    with pytest.raises(InputError, match="this run is finished"):
        Trainer(short, device="cpu", resume=trainer.run_dir)
    (trainer.run_dir / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"settings: lr0 0\.001 -> 0\.5\."):
        Trainer(override_config(short, ["lr0=0.5"]), device="cpu", resume=trainer.run_dir)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.integration
def test_patience_ends_a_run_and_says_how_to_go_on(
    short: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = iter([0.5, 0.4, 0.3, 0.2, 0.1])
    patient = override_config(short, ["epochs=5", "patience=2", "sr_decoder=none"])
    trainer = Trainer(patient, device="cpu", wandb_off=True)
    monkeypatch.setattr(trainer, "_validate", lambda: {"ap50": next(scores)})
    result = trainer.fit()
    assert (result["epochs_trained"], result["best_epoch"], result["ap50"]) == (3, 1, 0.5)
    note = "note: ended by patience = 2 after epoch 3, the last 2 of which brought no better AP50; to train on: "
    assert f"{note}python train.py --resume {trainer.run_dir} patience=" in capsys.readouterr().err
    longer = override_config(patient, ["epochs=9"])
    resumed = Trainer(longer, device="cpu", wandb_off=True, resume=trainer.run_dir, accept_changes=True)
    assert resumed.fit()["epochs_trained"] == 3
    assert note in capsys.readouterr().err


def test_frames_of_one_cell_in_a_batch_of_one_are_refused(config: Config) -> None:
    trainer = Trainer(override_config(config, ["sr_decoder=none"]), device="cpu", wandb_off=True)
    for batch_size in (1, 2, 13):  # of 27 frames: the last batch has one
        trainer.config = override_config(config, ["imgsz_lr=32", "imgsz_hr=64", f"batch_size={batch_size}"])
        with pytest.raises(InputError, match=r"imgsz_lr = 32: of 27 frames .* take imgsz_lr=64, or another batch_size"):
            trainer._refuse_a_single_cell(trainer.model)
    for fine in (["imgsz_lr=32", "imgsz_hr=64", "batch_size=5"], ["batch_size=13"]):
        trainer.config = override_config(config, fine)
        trainer._refuse_a_single_cell(trainer.model)


def test_what_stops_a_run_ends_with_the_way_on(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config, device="cpu", wandb_off=True)

    def die(_batch: object) -> None:
        raise ResumableError("a loader process died")

    monkeypatch.setattr(trainer, "_terms_of", die)
    with pytest.raises(ResumableError) as stopped:
        trainer.fit()
    way_on = f"epoch 0 is saved; go on with: python train.py --resume {trainer.run_dir}"
    assert str(stopped.value) == f"a loader process died; {way_on} (changed settings after it, with --accept-changes)"
    assert json.loads((trainer.run_dir / "run.json").read_text())["stopped"] == str(stopped.value)


@pytest.mark.parametrize("lag", [0, 1])
@pytest.mark.parametrize("bad", [2, 7])  # of 7 batches in an epoch: in its midst, and its last
def test_a_loss_that_is_not_finite_stops_before_the_weights(
    config: Config, monkeypatch: pytest.MonkeyPatch, bad: int, lag: int
) -> None:
    """Seen at once, or one batch late, as on CUDA: by then the bad batch's update has been asked for."""
    trainer = Trainer(override_config(config, ["run.val_every=9"]), device="cpu", wandb_off=True)
    assert len(trainer.train_loader) == 7
    trainer.loss_lag, criterion, step, weights, files = lag, trainer.criterion.forward, trainer._step, [], []
    saved = {path.name: path.read_bytes() for path in trainer.run_dir.glob("*.pt")}

    def seen(batch: Any, terms_of: Any = trainer._terms_of) -> dict[str, torch.Tensor]:
        files.append([Path(path).name for path in batch["img_path"]])
        return terms_of(batch)

    def spoiled(*arguments: Any) -> dict[str, torch.Tensor]:
        losses = criterion(*arguments)
        if len(files) != bad:
            return losses
        return {**losses, "total_loss": losses["total_loss"] * math.nan, "l_cls": torch.tensor(math.nan)}

    def watched_step() -> None:
        step()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in trainer.parameters]))

    monkeypatch.setattr(trainer, "_terms_of", seen)
    monkeypatch.setattr(trainer.criterion, "forward", spoiled)
    monkeypatch.setattr(trainer, "_step", watched_step)
    with pytest.raises(NonFiniteLossError, match=r"epoch 1: total_loss nan, .*l_cls nan; files: ") as stopped:
        trainer.fit()
    assert "files: " + ", ".join(files[bad - 1]) + "; " in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert f"; epoch 0 is saved; go on with: python train.py --resume {trainer.run_dir} (" in str(stopped.value)
    assert stopped.value.exit_code == 75
    assert len(weights) == bad - 1 + lag  # with the lag its step was asked for, and the device held it back
    after = torch.cat([parameter.detach().flatten() for parameter in trainer.parameters])
    assert torch.equal(after, weights[bad - 2])
    assert not torch.equal(after, weights[0]) or bad == 2
    assert {path.name: path.read_bytes() for path in trainer.run_dir.glob("*.pt")} == saved
    events = (trainer.run_dir / "log.jsonl").read_text().splitlines()
    assert [json.loads(event)["step"] for event in events] == list(range(1, bad))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.integration
def test_looking_at_the_loss_one_batch_late_changes_nothing(short: Config) -> None:
    runs = []
    for lag in (0, 1):
        settings = override_config(short, ["epochs=2", f"run.name=lag{lag}", "optim.accumulate=2"])
        trainer = Trainer(settings, device="cpu", wandb_off=True)
        trainer.loss_lag = lag
        trainer.fit()
        runs.append(trainer.run_dir)
    assert different_fields(*runs) == set()
    events = [map(json.loads, (run / "log.jsonl").read_text().splitlines()) for run in runs]
    batches = [[event for event in each if event["kind"] == "batch"] for each in events]
    assert batches[0] == batches[1]
    assert [event["step"] for event in batches[0]] == list(range(1, 7))


def test_weights_that_the_last_step_spoiled_are_not_saved(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config, device="cpu", wandb_off=True)

    def spoil() -> dict[str, Any]:
        next(trainer.model.parameters()).data.fill_(math.inf)
        return {"ap50": 0.5}

    monkeypatch.setattr(trainer, "_validate", spoil)
    with pytest.raises(NonFiniteLossError, match="not finite after epoch 1, not saved"):
        trainer.fit()
    assert read_checkpoint(trainer.run_dir / "last.pt")["epoch"] == 0
    assert not (trainer.run_dir / "best.pt").exists()


def test_a_missing_device_or_weights_file_stops_before_anything_is_written(config: Config) -> None:
    with pytest.raises(InputError, match="CUDA device"):
        Trainer(config, device="cuda:99")
    with pytest.raises(InputError, match="no such file"):
        Trainer(config, device="cpu", weights="nowhere.pt")
    assert not (Path(config.run.results_dir) / "runs").exists()


def test_a_named_run_is_never_overwritten(config: Config) -> None:
    named = override_config(config, ["run.name=mine"])
    Trainer(named, device="cpu")
    with pytest.raises(InputError, match=r"this run exists; go on with --resume .*mine"):
        Trainer(named, device="cpu")


def test_a_balanced_run_trains_on_the_repeats_and_validates_as_ever(config: Config, tmp_path: Path) -> None:
    shutil.copytree(config.dataset.splits, tmp_path / "splits")
    lists = tmp_path / "splits/split1"
    settings = override_config(config, [f"dataset.splits='{tmp_path / 'splits'}'", "dataset.balanced=true"])
    with pytest.raises(InputError, match=r"train_balanced\.txt: no such list"):
        Trainer(settings, device="cpu", wandb_off=True)
    lines = (lists / "train.txt").read_text().splitlines()
    for part in ("train", "val"):
        (lists / f"{part}_balanced.txt").write_text("\n".join([lines[0], *lines]))
    trainer = Trainer(settings, device="cpu", wandb_off=True)
    assert [str(path) for path in trainer.train_set.image_paths] == [lines[0], *lines]
    assert [str(path) for path in trainer.val_set.image_paths] == (lists / "val.txt").read_text().splitlines()
    assert "balanced: true" in (trainer.run_dir / "config.yaml").read_text()
    assert f"{len(lines) + 1} training frames" in trainer.describe()
