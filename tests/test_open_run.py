"""Opening a run's folder: what stops before anything is written, and what a resumed run may differ in."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from stopped_runs import different_fields, stop_in_epoch

from data_utils.config.loading import load_config, override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError, ResumableError
from data_utils.lists import label_path
from models.checkpoint import read_checkpoint
from training.run import resume
from training.run.folder import RunLock
from training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("no_pictures")
SMALL = (
    *("sr_decoder=none", "optim.warmup_epochs=0", "lr0=0.001", "run.precision=fp32", "run.panel_every=0"),
    *("epochs=2", "batch_size=8", "run.name=mine"),
)


@pytest.fixture
def config(few_frames: Config, tmp_path: Path) -> Config:
    return override_config(few_frames, [*SMALL, f"run.results_dir='{tmp_path / 'results'}'"])


def trainer(config: Config, **options: Any) -> Trainer:
    return Trainer(config, device="cpu", wandb_off=True, **options)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.integration
def test_a_run_can_be_resumed_before_its_first_epoch_has_ended(config: Config) -> None:
    whole = trainer(override_config(config, ["run.name=whole"]))
    whole.fit()
    cut = trainer(config)
    first = read_checkpoint(cut.run_dir / "last.pt")
    assert first["epoch"] == 0
    stop_in_epoch(cut, 1)
    resumed = trainer(config, resume=cut.run_dir)
    resumed.fit()
    assert different_fields(whole.run_dir, resumed.run_dir) == set()


def test_a_disk_without_room_is_found_before_anything_is_written(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50_000_000))
    with pytest.raises(ResumableError, match=r"50 MB free, the checkpoints of this run take about 2\d\d MB") as stopped:
        trainer(config)
    assert stopped.value.exit_code == 75
    assert not Path(config.run.results_dir).exists()


@pytest.mark.integration
def test_a_finished_run_and_one_at_work_are_left_alone(config: Config) -> None:
    done = trainer(override_config(config, ["epochs=1"]))
    done.fit()
    before = contents(done.run_dir)
    with pytest.raises(InputError, match=r"this run is finished; .*epochs=N --accept-changes"):
        trainer(config, resume=done.run_dir)
    assert contents(done.run_dir) == before
    longer = trainer(config, resume=done.run_dir, accept_changes=True)
    assert longer.fit()["epochs_trained"] == 2
    record = json.loads((done.run_dir / "run.json").read_text())
    assert record["resumed_at"] == {"epoch": 1, "changes": ["settings: epochs 1 -> 2"]}
    assert load_config(done.run_dir / "config.yaml").epochs == 2

    before = contents(done.run_dir)
    for fewer in (config, override_config(config, ["epochs=1"])):
        with pytest.raises(InputError, match=r"2 epochs are trained and epochs = [12]: nothing is left to train"):
            trainer(fewer, resume=done.run_dir, accept_changes=True)
    assert contents(done.run_dir) == before

    (done.run_dir / "run.json").write_text("{}")
    lock, before = RunLock(done.run_dir), contents(done.run_dir)
    with pytest.raises(InputError, match=r"process \d+ on .* works in this run folder"):
        trainer(config, resume=done.run_dir)
    assert contents(done.run_dir) == before
    lock.release()


def test_settings_that_fit_no_checkpoint_leave_the_run_as_it_was(config: Config) -> None:
    run = trainer(config)
    run.lock.release()
    before = contents(run.run_dir)
    other = override_config(config, ["sr_decoder=light"])
    with pytest.raises(InputError, match=r"of another architecture: it lacks sr_branch"):
        trainer(other, resume=run.run_dir, accept_changes=True)
    assert contents(run.run_dir) == before


@pytest.mark.integration
def test_changed_labels_and_code_are_named_and_stop_a_resumed_run(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(config.dataset.processed, tmp_path / "processed")
    shutil.copytree(config.dataset.splits, tmp_path / "splits")
    for path in (tmp_path / "splits").rglob("*.txt"):
        path.write_text(path.read_text().replace(config.dataset.processed, str(tmp_path / "processed")))
    places = [f"dataset.{name}='{tmp_path / name}'" for name in ("processed", "splits")]
    run = trainer(override_config(config, places))
    assert str(run.train_set.image_paths[0]).startswith(str(tmp_path))
    label = next(path for path in map(label_path, run.train_set.image_paths) if path.read_text())
    label.write_text("")
    code = dict(run.foundations["code"])
    monkeypatch.setattr("training.loop.code_part", lambda: {"code": {**code, "x.py": "1"}, "versions": {"torch": "9"}})
    changed = override_config(config, places)
    run.lock.release()
    with pytest.raises(InputError, match="changed since this run was saved") as refused:
        trainer(changed, resume=run.run_dir)
    for part in (f".lr/labels/{label.name} changed", "code: x.py added", f"versions: torch {torch.__version__} -> 9"):
        assert part in str(refused.value) or (part.startswith("versions") and "-> 9" in str(refused.value))
    assert trainer(changed, resume=run.run_dir, accept_changes=True).fit()["epochs_trained"] == 2
    assert "going on although changed" in capsys.readouterr().err


@pytest.mark.integration
def test_a_save_that_fails_loses_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(config)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    finish = run._finish_epoch

    def fail_in_the_second(*arguments: Any) -> None:
        if run.progress.epoch == 1:
            monkeypatch.setattr("training.run.state.write_checkpoint", full)
        finish(*arguments)

    monkeypatch.setattr(run, "_finish_epoch", fail_in_the_second)
    with pytest.raises(ResumableError, match=r"No space left on device; make room, then: epoch 1 is saved; go on with"):
        run.fit()
    monkeypatch.undo()
    assert read_checkpoint(run.run_dir / "last.pt")["epoch"] == 1
    whole = trainer(override_config(config, ["run.name=whole"]))
    whole.fit()
    trainer(config, resume=run.run_dir).fit()
    assert different_fields(whole.run_dir, run.run_dir) == set()


@pytest.mark.integration
def test_a_disk_that_fills_up(config: Config, tmp_path: Path) -> None:
    """On a real file system of 130 MB: room for two states of a run, not for three."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=130m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted only by root")
    try:
        settings = override_config(config, [f"run.results_dir='{small}'", "epochs=3"])
        with pytest.raises(ResumableError, match=r"13. MB free, the checkpoints of this run take about"):
            trainer(settings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resume, "FILES_KEPT", 1)
            run = trainer(settings)
        with pytest.raises(ResumableError, match=r"last\.new\.pt: No space left on device; make room, then: epoch"):
            run.fit()
        names = {path.name for path in run.run_dir.iterdir()}
        assert not [name for name in names if "tmp" in name or "new" in name]
        saved = read_checkpoint(run.run_dir / "last.pt")["epoch"]
        assert saved == read_checkpoint(run.run_dir / "last.1.pt")["epoch"] + 1
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_room_asked_for_is_what_a_run_takes(config: Config) -> None:
    run = trainer(config)
    one = (run.run_dir / "last.pt").stat().st_size
    assert resume._bytes_of(run.model) <= one <= 4 * resume._bytes_of(run.model) + 1_000_000
