"""Two training processes on the CPU against one with the same global batch."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from conftest import REPO_ROOT, PreparedSet
from torch import nn
from training_processes import ended, quiet, run_script, script, start

from data_utils.config.loading import config_from_dict, override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.checkpoint import read_checkpoint
from training import distributed
from training.loss import LossWatch
from training.run.folder import is_held
from training.run.state import newest_checkpoint

SMALL = (
    *("sr_decoder=light", "model.branch_width=8", "model.fusion_stride=8", "optim.warmup_epochs=0", "lr0=0.001"),
    *("run.precision=fp32", "run.panel_every=0", "epochs=1", "batch_size=7", "optim.sync_batch_norm=true"),
)


@pytest.fixture
def config(tiny_prepared: PreparedSet, tmp_path: Path) -> Config:
    return override_config(tiny_prepared.config, [*SMALL, f"run.results_dir='{tmp_path / 'results'}'"])


def test_alone_nothing_is_shared() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.ones(1, 2)
    distributed.average_gradients(layer.parameters())
    assert torch.equal(layer.weight.grad, torch.ones(1, 2))
    assert layer.bias.grad is None
    assert distributed.share_of_mean(torch.tensor(3.0)) == 1.0
    assert distributed.gathered("mine") == ["mine"]
    assert distributed.from_main(lambda: 5) == 5
    assert distributed.greatest(15, torch.device("cpu")) == 15
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    assert distributed.join("cuda:7") == "cuda:7"  # left for pick_device to judge


def test_a_device_that_several_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for device in ("mps", "cuda:1"):
        with pytest.raises(InputError, match=f"--device {device}: with several processes"):
            distributed.join(device)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"--nproc_per_node: PyTorch sees 0 CUDA device\(s\)"):
            distributed.join("cuda")


def one_step(settings: dict[str, Any], rank: int, world_size: int, port: int, out: Path) -> None:
    """Save gradients and terms of the first batch, statistics after it, and what validation saw and measured.

    In double precision: in single, the order of summation alone moves the first layer's gradient by some 1e-4.
    """
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    quiet()
    module = importlib.import_module("training.trainer")
    trainer = module.Trainer(config_from_dict(settings, "test"), device="cpu", wandb_off=True)
    as_input = trainer._input
    trainer._input = lambda images: as_input(images).double()
    trainer.model.double().train()
    trainer.train_loader.set_epoch(0)
    batch = next(iter(trainer.train_loader))
    losses = trainer._terms_of(batch)
    losses["total_loss"].backward()
    own = torch.stack([losses[name].detach() for name in trainer.terms])
    ((_, terms),) = LossWatch(trainer.terms, 1, trainer.optimizer, lag=0).follow(1, own, batch["img_path"])
    distributed.average_gradients(trainer.model.parameters())
    gradients = {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}
    statistics = {name: b for name, b in trainer.model.named_buffers() if "running" in name}
    seen: list[str] = []
    measure = module.logged_metrics
    module.logged_metrics = lambda results, *rest: seen.extend(r.stem for r in results) or measure(results, *rest)
    row = {key: value for key, value in trainer._measure().items() if not key.startswith("n_sr")}
    if rank == 0:
        torch.save({"gradients": gradients, "terms": terms, "statistics": statistics, "seen": seen, "row": row}, out)
    distributed.leave()


def train_as(rank: int, port: int, arguments: tuple[str, ...], out: Path, err: Path) -> None:
    """Run train.py as process `rank` of two, as torch.distributed.run would."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    run_script("train.py", arguments, out, err)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def steps_of(config: Config, world_size: int, out: Path) -> dict[str, Any]:
    settings, port = config.model_dump(mode="json"), free_port()
    processes = [start(one_step, settings, rank, world_size, port, out) for rank in range(world_size)]
    assert [ended(process) for process in processes] == [0] * world_size
    return torch.load(out, weights_only=True)


@pytest.mark.integration
@pytest.mark.parametrize("loss_scale", ["sum", "batch"])
def test_two_processes_take_the_step_of_one(config: Config, tmp_path: Path, loss_scale: str) -> None:
    """The batch of 7 is shared as 4 and 3, so that the shares' weights matter."""
    config = override_config(config, [f"loss.loss_scale={loss_scale}"])
    one, two = (steps_of(config, n, tmp_path / f"{n}.pt") for n in (1, 2))
    assert one["gradients"].keys() == two["gradients"].keys()
    largest = max(float(gradient.abs().max()) for gradient in one["gradients"].values())
    for name, gradient in one["gradients"].items():
        assert float((gradient - two["gradients"][name]).abs().max()) <= 1e-5 * max(1.0, largest), name
    torch.testing.assert_close(two["terms"], one["terms"], rtol=1e-5, atol=1e-6)
    for name, statistic in one["statistics"].items():
        torch.testing.assert_close(two["statistics"][name], statistic, rtol=1e-4, atol=1e-5)
    assert two["seen"] == one["seen"]  # every validation frame once, in the list's order
    assert two["row"].keys() | {"psnr"} == one["row"].keys() | {"psnr"}


@pytest.mark.integration
def test_a_killed_process_ends_all_of_them_and_the_run_goes_on(config: Config, tmp_path: Path) -> None:
    settings = override_config(config, ["epochs=500", "run.name=pair"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    arguments = ["train.py", "--config", str(tmp_path / "run.yaml"), "--wandb-off", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(tmp_path / "output.txt", "wb") as output:
        job = subprocess.Popen([*line, *arguments], cwd=REPO_ROOT, env=environment, stdout=output, stderr=output)
    run_dir, deadline = tmp_path / "results" / "runs" / "pair", time.monotonic() + 200
    while not (run_dir / "last.1.pt").exists() and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    workers = psutil.Process(job.pid).children(recursive=True)
    second = next(p for p in workers if p.environ().get("RANK") == "1")
    killed = time.monotonic()
    second.send_signal(signal.SIGKILL)
    assert job.wait(timeout=60) != 0
    _, alive = psutil.wait_procs(workers, timeout=60 - (time.monotonic() - killed))
    assert not alive, (tmp_path / "output.txt").read_text()
    assert not is_held(run_dir)
    epoch = newest_checkpoint(run_dir)[1]["epoch"]
    assert epoch >= 1
    onwards = ["--resume", str(run_dir), f"epochs={epoch + 1}", "--accept-changes", "--device", "cpu", "--wandb-off"]
    done = script("train.py", *onwards)
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(run_dir / "last.pt")["epoch"] == epoch + 1
    shutil.rmtree(run_dir)


@pytest.mark.integration
def test_what_the_first_process_refuses_is_said_once(config: Config, tmp_path: Path) -> None:
    settings = override_config(config, ["run.name=taken"])
    (tmp_path / "results" / "runs" / "taken" / "panels").mkdir(parents=True)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    arguments = ("--config", str(tmp_path / "run.yaml"), "--wandb-off", "--device", "cpu")
    out, err, port = tmp_path / "out", tmp_path / "err", free_port()
    processes = [start(train_as, rank, port, arguments, out, err) for rank in (0, 1)]
    assert 0 not in [ended(process) for process in processes]
    assert [line for line in err.read_text(encoding="utf-8").splitlines() if line.startswith("error:")] == [
        f"error: {tmp_path / 'results' / 'runs' / 'taken'}: this run exists; go on with --resume "
        f"{tmp_path / 'results' / 'runs' / 'taken'}, or choose another run.name"
    ]
    assert out.read_text(encoding="utf-8").count("audit    ") == 1
