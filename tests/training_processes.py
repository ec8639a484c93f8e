"""Trainings in processes of their own, so that they can be killed, or be several.

One process (a fork server) imports torch and the project once, with one maths thread; each training is a fork of it.
"""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from data_utils.config.loading import config_from_dict

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


def train(settings: dict[str, Any], resume: Path | None = None, stop_at_save: bool = False) -> None:
    """Train on the CPU; with `stop_at_save` the process dies when it begins to save the second epoch."""
    trainer = _trainer(settings, resume)
    if stop_at_save:
        _in_place_of_the_second_save(trainer, lambda save: _with_numbered_steps(save, 0))
    trainer.fit()


def train_and_cut_the_save(settings: dict[str, Any], resume: Path, told: Path) -> None:
    """Go on into the second epoch, and save it once for every step of a save, by a process that dies before that step.

    What each of them left is copied beside the run's folder, as cut_0, cut_1...; the last one is a whole save, whose
    steps are told in the file `told`. Each is a fork of this process, so that the epoch is trained once.
    """
    trainer = _trainer(settings, resume)

    def cut_everywhere(save: Callable[[], None]) -> None:
        run_dir, before = trainer.run_dir, trainer.run_dir.with_name("before")
        shutil.copytree(run_dir, before)
        generator = random.getstate()
        for number in itertools.count():
            process = os.fork()
            if process == 0:
                random.setstate(generator)  # Python seeds it anew in every fork
                _with_numbered_steps(save, number, told)
                os._exit(0)
            died = os.waitpid(process, 0)[1] == signal.SIGKILL
            shutil.copytree(run_dir, run_dir.with_name(f"cut_{number}"))
            _put_back(before, run_dir)
            if not died:
                os._exit(0)

    _in_place_of_the_second_save(trainer, cut_everywhere)
    trainer.fit()


def _trainer(settings: dict[str, Any], resume: Path | None) -> Any:
    trainer_class = importlib.import_module("training.trainer").Trainer
    importlib.import_module("training.loop").redraw = lambda _: None  # pictures cost more than the training
    importlib.import_module("training.run.log").Progress.is_better = lambda *_: True  # each epoch saves a best.pt too
    quiet()
    return trainer_class(config_from_dict(settings, "test"), device="cpu", wandb_off=True, resume=resume)


def _in_place_of_the_second_save(trainer: Any, work: Callable[[Callable[[], None]], None]) -> None:
    finish_epoch = trainer._finish_epoch

    def watched(*arguments: Any) -> None:
        save = functools.partial(finish_epoch, *arguments)
        work(save) if trainer.progress.epoch == 1 else save()

    trainer._finish_epoch = watched


def _with_numbered_steps(save: Callable[[], None], kill_at: int, told: Path | None = None) -> None:
    with steps_of_saving(kill_at, told):
        save()


def _put_back(before: Path, run_dir: Path) -> None:
    """Give `run_dir` the files it had; what is held open (the lock, the log of batches) is changed in place."""
    kept = {path.name for path in before.iterdir()}
    for path in run_dir.iterdir():
        if path.name not in kept:
            path.unlink()
    for path in before.iterdir():
        content = path.read_bytes()
        if not (run_dir / path.name).exists() or (run_dir / path.name).read_bytes() != content:
            (run_dir / path.name).write_bytes(content)


def script(name: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository's root with these arguments, in a process that need not import torch anew."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, "out"), Path(folder, "err")]
        code = ended(start(run_script, name, arguments, *outputs, cwd))
        return subprocess.CompletedProcess([name, *arguments], code or 0, *(path.read_text() for path in outputs))


def run_script(name: str, arguments: tuple[str, ...], out: Path, err: Path, cwd: Path | None = None) -> None:
    """Be `python NAME ARGUMENTS` in this process, its output appended to the files `out` and `err`."""
    for number, path in enumerate((out, err), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = [name, *arguments]
    logging.getLogger("ultralytics").setLevel(logging.ERROR)  # preloaded here without the environment that quiets it
    importlib.import_module("data_utils.errors").run_command(importlib.import_module(name.removesuffix(".py")).main)


def quiet() -> None:
    """Send what a training prints to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@contextmanager
def steps_of_saving(kill_at: int | None, told: Path | None) -> Iterator[None]:
    """Number what is done to the disk within the block, one after the other; die by SIGKILL before number `kill_at`."""
    import torch

    checkpoint, steps = importlib.import_module("training.run.state"), []
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
