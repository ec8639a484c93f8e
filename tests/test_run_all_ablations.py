"""The command: python run_all_ablations.py."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPO_ROOT, PreparedSet
from training_processes import script

import run_all_ablations
from data_utils.config import override_config
from data_utils.errors import InterruptedRun


def command(*arguments: str, cwd: Path = REPO_ROOT) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(REPO_ROOT / "run_all_ablations.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=120)


def test_dry_run_lists_all_runs_and_only_narrows() -> None:
    everything, some = command("--dry-run"), command("--dry-run", "--only", "sr_*")
    assert everything.returncode == some.returncode == 0
    names = [line.split()[0] for line in everything.stdout.splitlines()[1:] if not line.startswith(" ")]
    assert len(names) == 14
    listed = [line.split()[0] for line in some.stdout.splitlines()[1:] if not line.startswith(" ")]
    assert listed == [name for name in names if name.startswith("sr_")]


def test_an_unknown_name_lists_the_known_ones() -> None:
    done = command("--dry-run", "--only", "sr_layer_48")
    assert done.returncode == 2
    assert "sr_layers_48" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_interrupt_ends_all_of_them(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, plain = tiny_prepared.config, {"tables": [4], "overrides": [], "paper": {"ap50": 0.7}}
    config = override_config(config, [f"run.results_dir='{tmp_path}'", "sr_decoder=none"])
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (tmp_path / "runs.yaml").write_text(json.dumps({"runs": {"one": plain, "two": plain}}))
    begun = []

    def stopped(name: str, *_: object, **__: object) -> None:
        begun.append(name)
        raise InterruptedRun("stopped by SIGINT", 130)

    monkeypatch.setattr("training.ablation.run_ablation", stopped)
    files = ["--config", str(tmp_path / "base.yaml"), "--ablations", str(tmp_path / "runs.yaml")]
    monkeypatch.setattr(sys, "argv", ["run_all_ablations.py", *files])
    with pytest.raises(InterruptedRun):
        run_all_ablations.main()
    assert begun == ["one"]


@pytest.mark.integration
def test_one_failure_and_one_skip_leave_the_others_running(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    settings = [f"run.results_dir='{tmp_path}'", "sr_decoder=none", "run.panel_every=0"]
    config = override_config(tiny_prepared.config, settings)
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    plain = {"tables": [4], "overrides": [], "paper": {"ap50": 0.7}}
    runs = {
        "broken": {**plain, "overrides": [f"pretrain='{tmp_path / 'none.pt'}'"]},
        "lacking": {**plain, "needs": "another paper"},
        "fine": plain,
    }
    (tmp_path / "runs.yaml").write_text(json.dumps({"runs": runs}))  # JSON is YAML, and has no aliases
    base = ["--config", str(tmp_path / "base.yaml"), "--ablations", str(tmp_path / "runs.yaml"), "--epochs", "1"]
    done = script("run_all_ablations.py", *base, "--device", "cpu")
    assert done.returncode == 1, done.stderr
    with open(tmp_path / "ablation_summary.csv", encoding="utf-8", newline="") as file:
        states = {row["name"]: row["state"] for row in csv.DictReader(file)}
    assert states["broken"].startswith("failed: pretrain")
    assert states["lacking"] == "skipped: needs another paper"
    assert states["fine"] == "done"
    kept = (tmp_path / "ablations" / "fine.json").read_bytes()
    again = script("run_all_ablations.py", *base, "--only", "fine", "--device", "cpu")
    assert "fine: done before" in again.stdout
    assert (tmp_path / "ablations" / "fine.json").read_bytes() == kept
