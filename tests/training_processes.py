"""Trainings in processes of their own, so that they can be killed, or be several.

One process (a fork server) imports torch and the project once, with one maths thread; each training is a fork of it.
"""

from __future__ import annotations

import functools
import importlib
import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from data_utils.config import config_from_dict

HERE = Path(__file__).resolve().parent
PRELOADED = [
    *("training.trainer", "torch._dynamo", "faster_coco_eval"),
    *("ultralytics.nn.tasks", "ultralytics.utils.loss", "training_processes"),
]
LIMIT_S = 300.0  # a training that hangs fails its test


@functools.cache
def fork_server() -> Any:
    """Start the server that trainings are forked from."""
    context = multiprocessing.get_context("forkserver")
    paths = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    with environment(OMP_NUM_THREADS="1", PYTHONPATH=paths, YOLO_OFFLINE="1", YOLO_AUTOINSTALL="false"):
        context.set_forkserver_preload(PRELOADED)
        warm = context.Process(target=int)
        warm.start()
        warm.join()
    return context


def fork_instead_of_spawning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what starts processes afresh fork them off the server, which has imported what they would."""
    server, get_context = fork_server(), multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: server if kind == "spawn" else get_context(kind))


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables within the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def start(job: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Start `job`, a function of a module under tests/, in a process of its own."""
    process = fork_server().Process(target=job, args=arguments)
    process.start()
    return process


def ended(process: BaseProcess) -> int | None:
    """Wait for a process and return its exit code, negative for the signal that killed it."""
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"still at work after {LIMIT_S:.0f} s")
    return process.exitcode


def train(
    settings: dict[str, Any], resume: Path | None = None, kill_at: int | None = None, told: Path | None = None
) -> None:
    """Train on the CPU. kill_at: die before this step of saving the second epoch; told: a file for their names."""
    trainer_class = importlib.import_module("training.trainer").Trainer
    importlib.import_module("training.loop").redraw = lambda _: None  # pictures cost more than the training
    importlib.import_module("training.progress").Progress.is_better = lambda *_: True  # each epoch saves a best.pt too
    quiet()
    trainer = trainer_class(config_from_dict(settings, "test"), device="cpu", wandb_off=True, resume=resume)
    if kill_at is not None or told is not None:
        finish_epoch = trainer._finish_epoch

        def watched(*arguments: Any) -> None:
            with steps_of_saving(kill_at, told) if trainer.progress.epoch == 1 else nullcontext():
                finish_epoch(*arguments)

        trainer._finish_epoch = watched
    trainer.fit()


def quiet() -> None:
    """Send what a training prints to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@contextmanager
def steps_of_saving(kill_at: int | None, told: Path | None) -> Iterator[None]:
    """Number what is done to the disk within the block, one after the other; die by SIGKILL before number `kill_at`."""
    import torch

    checkpoint, steps = importlib.import_module("training.checkpoint"), []
    save = torch.save

    def step(name: str) -> None:
        if len(steps) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*arguments: Any, **options: Any) -> Any:
            step(name)
            return function(*arguments, **options)

        return watching

    def save_in_halves(content: Any, file: Any) -> None:
        whole = io.BytesIO()
        save(content, whole)
        half = len(whole.getvalue()) // 2
        file.write(whole.getvalue()[:half])
        file.flush()
        step("half-way through torch.save")
        file.write(whole.getvalue()[half:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", watched("torch.save", save_in_halves))
        patch.setattr(os, "replace", watched("os.replace", os.replace))
        patch.setattr(os, "fsync", watched("os.fsync", os.fsync))
        patch.setattr(checkpoint, "read_checkpoint", watched("reading back", checkpoint.read_checkpoint))
        yield
        step("the end of the save")
    if told is not None:
        told.write_text("\n".join(steps))
