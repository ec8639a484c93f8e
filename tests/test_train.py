"""The command: python train.py."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPO_ROOT, PreparedSet
from training_processes import script

from data_utils.config.loading import override_config
from models.backbone import build_detector


@pytest.fixture
def config_file(tiny_prepared: PreparedSet, tmp_path: Path) -> Path:
    settings = ["sr_decoder=light", "model.branch_width=8", f"run.results_dir='{tmp_path / 'results'}'", "epochs=2"]
    config = override_config(tiny_prepared.config, settings)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return tmp_path / "run.yaml"


def test_dry_run_says_what_it_would_train_on_and_writes_nothing(config_file: Path, tmp_path: Path) -> None:
    done = script("train.py", "--config", str(config_file), "--dry-run")
    assert done.returncode == 0, done.stderr
    for part in ("tiny, split 1", "train ", "light on layers 4-8", "0.1 L_SR + 7.5 L_bbox", "nothing was trained"):
        assert part in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--weights", "gone.pt"), "gone.pt: no such file"),
        (("--weights", "empty.pt"), "empty.pt: not a PyTorch weights file"),
        (("--weights", "prefixed.pt"), "unknown prefix 'net.'"),
        (("--weights", "other.pt"), "other.pt: weights of another architecture"),
        (("pretrain=other.pt",), "other.pt: weights of another architecture"),
        (("stages.branch=other.pt",), "other.pt: not an SRE-YOLO checkpoint"),
        (("model.detector=yolov8q",), "model.detector = 'yolov8q': not a detector"),
        (("sr_layers=[4,80]",), "layer 80"),
        (("optim.freeze=99",), "optim.freeze = 99"),
        (("--device", "cuda:77"), "--device cuda:77"),
    ],
)
def test_dry_run_refuses_what_the_run_would_refuse(
    config_file: Path, tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    (tmp_path / "empty.pt").touch()
    state = build_detector("yolov8n", 1).state_dict()
    torch.save({f"net.{name}": tensor for name, tensor in state.items()}, tmp_path / "prefixed.pt")
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "other.pt")
    done = script("train.py", "--config", str(config_file), "--dry-run", *settings, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert not (tmp_path / "results").exists()


def test_dry_run_opens_fitting_weights_and_goes_on_without_what_a_run_would_fetch(
    config_file: Path, tmp_path: Path
) -> None:
    torch.save(build_detector("yolov8n", 80).state_dict(), tmp_path / "w.pt")
    for settings in (("--weights", "w.pt"), ("pretrain=coco", f"run.weights_dir='{tmp_path / 'none'}'")):
        done = script("train.py", "--config", str(config_file), "--dry-run", *settings, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_dry_run_on_a_fresh_clone_names_both_ways_on(tmp_path: Path) -> None:
    line = [sys.executable, str(REPO_ROOT / "train.py"), "--config", str(REPO_ROOT / "configs" / "train.yaml")]
    done = subprocess.run([*line, "--dry-run"], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    for part in ("data/splits/split1/train.txt", "data/raw", "data_utils.prepare", "make demo"):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lro=1",), "did you mean 'lrf'"),
        (("--config", "configs/trian.yaml"), "did you mean configs/train.yaml"),
        (("--resume", "nowhere"), "not a run folder"),
        (("--resume", "epochs=9"), "write --resume RUN epochs=9"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], message: str) -> None:
    done = script("train.py", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_first_weights_for_a_resumed_run_are_refused_and_not_ignored() -> None:
    done = script("train.py", "--resume", "results/runs/mine", "--weights", "best.pt")
    assert done.returncode == 2
    assert "a resumed run goes on with its own weights" in done.stderr


def test_a_run_is_not_resumed_on_lists_that_leak(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    shutil.copytree(tiny_prepared.folder / "splits", tmp_path / "splits")
    config = override_config(tiny_prepared.config, [f"dataset.splits='{tmp_path / 'splits'}'"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (tmp_path / "run.json").write_text(json.dumps({"dataset": "tiny", "split": 1}))
    train, val = (config.dataset.split_list(1, part) for part in ("train", "val"))
    moved, *others = val.read_text().splitlines()
    val.write_text("\n".join(others) + "\n")
    train.write_text(train.read_text() + moved + "\n")
    done = script("train.py", "--resume", str(tmp_path), "--dry-run")
    assert done.returncode == 2
    assert "shared patients" in done.stderr
    done = script("train.py", "--resume", str(tmp_path), "--dry-run", "--skip-audit")
    assert "holds no checkpoint to resume from" in done.stderr  # the lists no longer stop it


@pytest.mark.integration
def test_sigterm_stops_at_an_edge_and_the_run_goes_on(config_file: Path, tmp_path: Path) -> None:
    arguments = ["--config", str(config_file), "--wandb-off", "--device", "cpu", "epochs=300", "run.name=long"]
    line = [sys.executable, str(REPO_ROOT / "train.py"), *arguments]
    process = subprocess.Popen(
        line, cwd=REPO_ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run_dir = tmp_path / "results" / "runs" / "long"
    deadline = time.monotonic() + 90
    while not (run_dir / "last.pt").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert f"go on with: python train.py --resume {run_dir}".encode() in stderr
    assert b"Traceback" not in stderr
    settings = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert settings["epochs"] == 300
