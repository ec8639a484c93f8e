"""A chain, end to end: each stage an ordinary run, a finished one left alone, a stopped one gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from training_processes import script

from data_utils.config.loading import load_config, override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.backbone import build_detector
from models.checkpoint import read_checkpoint
from training.stage_runs import run_stages
from training.stages import initialise, plan_stages
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_pictures")
SMALL = (
    *("sr_decoder=light", "model.branch_width=8", "model.fusion_stride=8", "optim.warmup_epochs=0", "lr0=0.001"),
    *("run.precision=fp32", "run.panel_every=0", "batch_size=16", "epochs=1"),
)


@pytest.fixture
def config(few_frames: Config, tmp_path: Path) -> Config:
    """A run whose chains may name `polyps` and, for the branch alone, `frames`; both are the tiny set here."""
    sets = {"polyps": {"config": str(tmp_path / "base.yaml")},
            "frames": {"config": str(tmp_path / "base.yaml"), "overrides": ["stages.train=branch"]}}  # fmt: skip
    config = override_config(
        few_frames,
        [*SMALL, f"run.results_dir='{tmp_path / 'results'}'", f"run.weights_dir='{tmp_path / 'weights'}'",
         f"stages.sets={json.dumps(sets)}"],
    )  # fmt: skip
    (tmp_path / "base.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    (tmp_path / "weights").mkdir()
    torch.save({"model": build_detector("yolov8n", 80)}, tmp_path / "weights" / "yolov8n.pt")
    return config


@pytest.mark.integration
def test_train_py_trains_a_chain_and_then_never_again(config: Config, tmp_path: Path) -> None:
    arguments = ["--config", str(tmp_path / "base.yaml"), "--device", "cpu", "--skip-audit", "pretrain=coco"]

    def train() -> str:
        done = script("train.py", *arguments, "stages.branch=frames+polyps")
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = train()
    assert "stage 1 of 2 to train: frames, from coco" in first
    assert "36 left at random: model.22.cv3.* of the class head" in first
    assert "stage 2 of 2 to train: frames+polyps" in first
    stages = plan_stages(override_config(config, ["pretrain=coco", "stages.branch=frames+polyps"])).stages
    assert [stage.state() for stage in stages] == ["finished", "finished"]
    kept = [stage.best.read_bytes() for stage in stages]
    assert "stage 1 of" not in train()
    assert [stage.best.read_bytes() for stage in stages] == kept
    finals = sorted((tmp_path / "results/runs").glob("tiny_split1_*/run.json"))
    records = [json.loads(path.read_text())["initialised"] for path in finals]
    assert len(records) == 2
    assert records[0] == records[1]
    assert str(stages[1].best) in records[0]["branch"]
    assert records[0]["not_taken"]["model.22.cv3.2.2.bias"] == "[1] here, [80] in the file"
    first_weights, second_weights = (read_checkpoint(path.with_name("best.pt"))["model"] for path in finals)
    assert all(torch.equal(value, second_weights[name]) for name, value in first_weights.items())


@pytest.mark.integration
def test_a_stopped_stage_goes_on(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = f"stages.sets={{polyps: {{config: {config.stages.sets['polyps'].config}, overrides: [epochs=2]}}}}"
    chained = override_config(config, [sets, "pretrain=coco+polyps", "sr_decoder=none"])
    (stage,) = plan_stages(chained).stages
    whole = Trainer(override_config(stage.config, ["run.name=whole"]), device="cpu", wandb_off=True)
    whole.fit()
    one_epoch = Trainer._train_one_epoch

    def fail(trainer: Trainer, *arguments: object) -> dict[str, object]:
        if trainer.progress.epoch in failing:
            raise KeyboardInterrupt
        return one_epoch(trainer, *arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Trainer, "_train_one_epoch", fail)
    failing: list[int] = []
    for epoch in (0, 1):  # in the first epoch, and after one was saved
        failing[:] = [epoch]
        with pytest.raises(KeyboardInterrupt):
            run_stages(chained, device="cpu", wandb_off=True, skip_audit=True)
        if epoch == 0:  # as if it had been killed before it saved anything
            for path in stage.run_dir.glob("last*.pt"):
                path.unlink()
    assert stage.state() == "begun"
    with pytest.raises(InputError, match=r"pretrain = coco\+polyps: .*best\.pt is not there or not finished"):
        initialise(whole.model, chained, None)
    failing.clear()
    assert run_stages(chained, device="cpu", wandb_off=True, skip_audit=True) == [stage.run_dir]
    assert run_stages(chained, device="cpu", wandb_off=True, skip_audit=True) == []
    expected = read_checkpoint(whole.run_dir / "last.pt")["model"]
    assert all(torch.equal(v, expected[k]) for k, v in read_checkpoint(stage.run_dir / "last.pt")["model"].items())
    assert stage.run_dir.with_name(f"{stage.run_dir.name}.stopped1").is_dir()


def test_missing_data_stop_before_the_first_stage(config: Config, tmp_path: Path) -> None:
    values = {**config.model_dump(mode="json")}
    values["dataset"]["splits"] = str(tmp_path / "nowhere")
    (tmp_path / "lacking.yaml").write_text(yaml.safe_dump(values))
    sets = f"stages.sets.lacking={{config: {tmp_path / 'lacking.yaml'}}}"
    chained = override_config(config, [sets, "pretrain=coco+polyps+lacking", "sr_decoder=none"])
    with pytest.raises(InputError, match=r"^stage coco\+polyps\+lacking: .*train\.txt: no such split list"):
        run_stages(chained, device="cpu", skip_audit=True)
    assert not (tmp_path / "results/runs").exists()


def test_several_processes_do_not_train_stages(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    chained = override_config(config, ["pretrain=polyps", "sr_decoder=none"])
    with pytest.raises(InputError, match=r"stage polyps is not finished, .*: python train\.py --config .*base\.yaml"):
        run_stages(chained)
    assert run_stages(load_config("configs/train.yaml")) == []
