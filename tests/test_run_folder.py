"""Run folders: names, records, resuming, fixed copies."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data_utils.config.loading import load_config, override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from training.run.folder import (
    RunLock,
    copy_to_fixed_names,
    finish_record,
    forget_in_record,
    is_finished,
    new_run_dir,
    newest_run_dir,
    resumed_run,
    write_record,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(
        "configs/train.yaml", [f"run.results_dir='{tmp_path}'", f"run.weights_dir='{tmp_path / 'weights'}'", "lr0=1e-3"]
    )


def test_unnamed_runs_never_share_a_folder(config: Config) -> None:
    folders = {new_run_dir(config, 1) for _ in range(3)}
    assert len(folders) == 3
    assert all(folder.name.startswith("lesions_split1_") for folder in folders)


def test_a_record_says_what_ran_and_gives_the_settings_back(config: Config) -> None:
    run_dir = new_run_dir(config, 2)
    write_record(run_dir, config, 2, precision="fp32")
    record = json.loads((run_dir / "run.json").read_text())
    assert record.items() >= {"dataset": "lesions", "split": 2, "precision": "fp32"}.items()
    assert not is_finished(run_dir)
    for split in (None, 2):
        assert resumed_run(str(run_dir), "unused", split, []) == (run_dir, config, 2)
    with pytest.raises(InputError, match=r"--split 1: .* is a run of split 2 and goes on there; leave it out"):
        resumed_run(str(run_dir), "unused", 1, [])
    assert resumed_run(str(run_dir / "run.json"), "unused", None, [])[0] == run_dir
    assert resumed_run(str(run_dir), "unused", None, ["epochs=7"])[1].epochs == 7
    finish_record(run_dir, {"ap50": 0.5})
    assert is_finished(run_dir)
    forget_in_record(run_dir, "result")
    assert not is_finished(run_dir)


def test_a_named_folder_in_which_nothing_was_saved_is_taken_again(config: Config) -> None:
    named = override_config(config, ["run.name=mine"])
    run_dir = new_run_dir(named, 1)
    write_record(run_dir, named, 1)
    (run_dir / ".last.new.pt.123.tmp").touch()  # killed while it saved its first state
    assert new_run_dir(named, 1) == run_dir
    lock = RunLock(run_dir)
    with pytest.raises(InputError, match="this run exists"):
        new_run_dir(named, 1)
    lock.release()
    (run_dir / "last.pt").touch()
    with pytest.raises(InputError, match=r"go on with --resume .*mine"):
        new_run_dir(named, 1)


def test_the_newest_run_of_the_split_is_resumed(config: Config) -> None:
    older, newer, other = (new_run_dir(config, split) for split in (1, 1, 2))
    for age, (run_dir, split) in enumerate(((other, 2), (newer, 1), (older, 1))):
        write_record(run_dir, config, split)
        os.utime(run_dir / "run.json", (1e9 - age, 1e9 - age))
    assert newest_run_dir(config, 1) == newer
    with pytest.raises(InputError, match="no run of data set 'lesions', split 3"):
        newest_run_dir(config, 3)


def test_runs_of_another_task_are_not_taken_for_each_other(config: Config) -> None:
    detector, denoiser = new_run_dir(config, 1), new_run_dir(config, 1, "denoise")
    assert denoiser.name.startswith("lesions_split1_denoise_")
    write_record(detector, config, 1)  # as earlier versions wrote it: a run of the detector
    write_record(denoiser, config, 1, task="denoise")
    os.utime(detector / "run.json", (1, 1))
    assert newest_run_dir(config, 1) == detector
    assert newest_run_dir(config, 1, "denoise") == denoiser
    assert resumed_run(str(denoiser), "unused", 1, [], "denoise")[0] == denoiser
    with pytest.raises(InputError, match=r"made by python -m training\.denoise, for denoise; this needs detection"):
        resumed_run(str(denoiser), "unused", 1, [])


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        resumed_run(str(tmp_path / "none"), "unused", 1, [])


@pytest.mark.parametrize("content", ["", '{"spl', "[]", "{}", '{"split": "1"}'])
def test_a_spoiled_record_is_no_run_folder(config: Config, content: str) -> None:
    run_dir = new_run_dir(config, 1)
    (run_dir / "run.json").write_text(content)
    with pytest.raises(InputError, match="not a run folder"):
        resumed_run(str(run_dir), "unused", 1, [])
    with pytest.raises(InputError, match="no run of data set"):
        newest_run_dir(config, 1)
    assert not is_finished(run_dir)


def test_fixed_names_are_copies(config: Config, tmp_path: Path) -> None:
    run_dir = new_run_dir(config, 3)
    for name in ("best.pt", "last.pt", "log.csv"):
        (run_dir / name).write_text(name)
    copies = copy_to_fixed_names(run_dir, config, 3)
    expected = ["weights/best_split3.pt", "weights/last_split3.pt", "train_log_split3.csv"]
    assert [str(path.relative_to(tmp_path)) for path in copies] == expected
    assert [path.read_text() for path in copies] == ["best.pt", "last.pt", "log.csv"]


def test_a_failed_write_leaves_record_and_copies_whole(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = new_run_dir(config, 1)
    write_record(run_dir, config, 1)
    for name in ("best.pt", "last.pt", "log.csv"):
        (run_dir / name).write_text(name)
    copies = copy_to_fixed_names(run_dir, config, 1)

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    for write in (lambda: finish_record(run_dir, {"ap50": 1.0}), lambda: copy_to_fixed_names(run_dir, config, 1)):
        with pytest.raises(OSError, match="No space"):
            write()
    assert not is_finished(run_dir)
    assert [path.read_text() for path in copies] == ["best.pt", "last.pt", "log.csv"]
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["best_split1.pt", "last_split1.pt"]
