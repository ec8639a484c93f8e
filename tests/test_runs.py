"""The list of runs and their states."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from training.run.folder import RunLock
from training.runs import describe_runs, main


def make_run(results: Path, name: str, record: dict, log: str = "epoch,ap50\n1,0.25\n2,0.5\n3,\n") -> Path:
    run_dir = results / "runs" / name
    run_dir.mkdir(parents=True)
    (run_dir / "run.json").write_text(json.dumps(record))
    (run_dir / "config.yaml").write_text("epochs: 9\n")
    (run_dir / "log.csv").write_text(log)
    (run_dir / "last.pt").touch()
    return run_dir


BASE = {"task": "detection", "dataset": "tiny", "split": 1}


def test_every_state_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, "a", {**BASE, "started": "1", "result": {}})
    make_run(tmp_path, "b", {**BASE, "started": "2", "stopped": "stopped by SIGTERM; epoch 3 is saved"})
    make_run(tmp_path, "c", {**BASE, "started": "3"})
    lock = RunLock(make_run(tmp_path, "d", {**BASE, "started": "4"}))
    (make_run(tmp_path, "e", {**BASE, "started": "5"}, log="") / "last.pt").unlink()
    make_run(tmp_path, "f", {"task": "denoise", "started": "6"}, "epoch,psnr\n1,27.5\n2,2")
    rows = describe_runs(tmp_path)
    states = {row["run"]: row["state"].partition(" (process")[0] for row in rows}
    assert states == {
        "a": "finished", "b": "stopped (stopped by SIGTERM)", "c": "killed", "d": "running", "e": "nothing saved",
        "f": "killed",
    }  # fmt: skip
    assert (rows[0]["epoch"], rows[0]["best_epoch"], rows[0]["best"]) == ("3/9", "2", 0.5)
    assert (rows[5]["measure"], rows[5]["best"]) == ("psnr", 27.5)
    main(["--results", str(tmp_path), "--csv", str(tmp_path / "runs.csv")])
    printed = capsys.readouterr().out
    assert "0.5000" in printed
    assert "train.py --resume RUN" in printed
    assert (tmp_path / "runs.csv").read_text().count("\n") == 7
    lock.release()


def test_no_runs_and_spoiled_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--results", str(tmp_path)])
    assert "no runs under" in capsys.readouterr().out
    run_dir = make_run(tmp_path, "torn", {})
    (run_dir / "run.json").write_text("{")
    (run_dir / "config.yaml").write_text(": :")
    main(["--results", str(tmp_path), "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["epoch"]) == ("unreadable run.json", "3/?")


def test_help_needs_no_torch(repo_root: Path) -> None:
    code = "import sys, runpy; sys.modules['torch'] = None; sys.argv = ['x', '--help']; " \
           "runpy.run_module('training.runs', run_name='__main__')"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
