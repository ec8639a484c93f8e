"""CSV and JSONL logs and their mirrors."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from data_utils.config.loading import load_config
from data_utils.errors import InterruptedRun
from training.run import log as run_log
from training.run.log import RunLog

QUIET = load_config("configs/train.yaml", ["run.wandb=off"])


def write_epochs(run_dir: Path, epochs: range, **options: Any) -> None:
    log = RunLog(run_dir, QUIET, **options)
    for epoch in epochs:
        log.batch(epoch, epoch * 10, {"total_loss": 1.0 / epoch})
        log.epoch(epoch, epoch * 10, {"total_loss": 1.0 / epoch, "ap50": None if epoch == 1 else 0.5})
    log.close()


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "log.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]


def test_a_row_for_each_epoch_and_an_event_for_each_batch(tmp_path: Path) -> None:
    write_epochs(tmp_path, range(1, 3))
    assert rows(tmp_path) == [
        {"epoch": "1", "total_loss": "1", "ap50": ""},
        {"epoch": "2", "total_loss": "0.5", "ap50": "0.5"},
    ]
    expected = [("batch", 1), ("epoch", 1), ("batch", 2), ("epoch", 2)]
    assert [(event["kind"], event["epoch"]) for event in events(tmp_path)] == expected


def test_resuming_drops_what_came_after_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_epochs(tmp_path, range(1, 4))
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"kind": "batch", "epo')
    with open(tmp_path / "log.csv", "a") as file:
        file.write("4,0.")
    write_epochs(tmp_path, range(3, 5), resumed_epoch=2)
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]
    assert [e["epoch"] for e in events(tmp_path) if e["kind"] == "epoch"] == [1, 2, 3, 4]
    assert capsys.readouterr().err.count("a torn line was skipped") == 2


def test_values_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    log = RunLog(tmp_path, QUIET)
    log.batch(1, 1, {"total_loss": float("nan")})
    log.epoch(1, 1, {"total_loss": float("inf")})
    log.close()
    assert events(tmp_path)[0]["total_loss"] is None
    assert rows(tmp_path)[0]["total_loss"] == ""


def test_a_missing_wandb_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    log = RunLog(tmp_path, load_config("configs/train.yaml"))
    log.epoch(1, 1, {"ap50": 0.5})
    log.close()
    assert capsys.readouterr().err.count("warning: W&B is not available") == 1
    assert rows(tmp_path)[0]["ap50"] == "0.5"


@pytest.mark.parametrize(
    ("setting", "variable", "mode"),
    [
        ("auto", None, "online"), ("auto", "offline", "offline"), ("auto", "dryrun", "offline"),
        ("auto", "disabled", "off"), ("offline", "online", "offline"), ("off", "online", "off"),
    ],
)  # fmt: skip
def test_wandb_mode_can_only_keep_more_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, setting: str, variable: str | None, mode: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert run_log._wandb_mode(load_config("configs/train.yaml", [f"run.wandb={setting}"])) == mode


def test_a_signal_while_wandb_starts_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise InterruptedRun("stopped by SIGTERM", 143)

    monkeypatch.setattr(run_log, "_WandbMirror", interrupted)
    with pytest.raises(InterruptedRun):
        RunLog(tmp_path, load_config("configs/train.yaml", ["run.wandb=offline"]))


def test_a_mirror_that_dies_costs_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Dying:
        def log(self, values: dict[str, float], step: int) -> None:
            raise ConnectionError("gone")

    log = RunLog(tmp_path, QUIET)
    log._mirrors = [run_log._Guarded("W&B", Dying())]
    for epoch in (1, 2):
        log.epoch(epoch, epoch, {"ap50": 0.5})
    log.close()
    assert capsys.readouterr().err.count("W&B stopped (gone)") == 1
    assert len(rows(tmp_path)) == 2


def test_tensorboard_mirrors_epochs(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path, load_config("configs/train.yaml", ["run.wandb=off", "run.tensorboard=true"]))
    log.epoch(1, 7, {"ap50": 0.25})
    log.close()
    seen = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in seen.Scalars("epoch/ap50")] == [(7, 0.25)]


def test_measures_that_come_later_get_their_column(tmp_path: Path) -> None:
    """With run.val_every = 2 the first epoch has no AP."""
    log = RunLog(tmp_path, QUIET)
    log.epoch(1, 1, {"total_loss": 2.0})
    log.epoch(2, 2, {"total_loss": 1.0, "ap50": 0.5})
    log.epoch(3, 3, {"total_loss": 0.5})
    log.close()
    assert [(row["total_loss"], row["ap50"]) for row in rows(tmp_path)] == [("2", ""), ("1", "0.5"), ("0.5", "")]


def test_resuming_with_an_empty_csv_writes_its_header(tmp_path: Path) -> None:
    (tmp_path / "log.csv").touch()
    write_epochs(tmp_path, range(2, 3), resumed_epoch=1)
    assert [row["epoch"] for row in rows(tmp_path)] == ["2"]
