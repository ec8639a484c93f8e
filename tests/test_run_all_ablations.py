"""The command: python run_all_ablations.py."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from ablation_samples import base_config, registry
from conftest import PreparedSet
from training_processes import environment, fork_instead_of_spawning, script

import run_all_ablations
from evaluation.paper.tables import rewrite


def test_dry_run_lists_all_runs_and_only_narrows() -> None:
    narrowed = ["--only", "sr_light", "sr_*", "c1=5", "--seeds", "0", "1", "1"]  # a setting is no pattern
    everything, some = (script("run_all_ablations.py", "--dry-run", *more) for more in ([], narrowed))
    assert everything.returncode == some.returncode == 0
    assert everything.stderr.startswith("all runs need: data/splits/split1/train.txt: no such split list")
    assert everything.stderr.count("\n") == 1
    names = [line.split()[0] for line in everything.stdout.splitlines()[1:-1] if not line.startswith(" ")]
    assert len(names) == 39
    listed = [line.split()[0] for line in some.stdout.splitlines()[1:-1] if not line.startswith(" ")]
    assert listed == [name for name in names if name.startswith("sr_")]
    assert some.stdout.splitlines()[-1].startswith("7 runs, 14 trainings")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "sr_layer_48"], "sr_layer_48: matches no run of configs/ablations.yaml, did you mean 'sr_lay"),
        (["--only", "plain", "brunch"], "--only brunch: matches no run of configs/ablations.yaml, did you mean"),
        (["--only", "C1_0.5"], "did you mean 'c1_0.5'"),
        (["lro=0.1"], "unknown key 'lro', did you mean 'lrf'"),
        (["epochs=3"], "epochs=3: write --epochs 3"),
        (["seed=3"], "seed=3: write --seeds 3"),
        (["--seeds", "-1"], "--seeds -1, --epochs 20: seeds are 0 to 4294967295"),
        (["--seeds", "0", "4294967296"], "--seeds 4294967296, --epochs 20: seeds are 0 to 4294967295"),
        (["--epochs", "20"], "data/splits/split1/train.txt: no such split list"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str) -> None:
    dry = [] if "--epochs" in arguments else ["--dry-run"]
    done = script("run_all_ablations.py", *arguments, *dry)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.integration
def test_one_failure_and_one_skip_leave_the_others_running_and_a_rerun_repeats_nothing(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    fork_instead_of_spawning(monkeypatch)
    base = base_config(tiny_prepared, tmp_path)
    lost = tmp_path / "none.pt"
    lacking, broken = {"overrides": [f"pretrain='{lost}'"]}, {"overrides": ["model.detector=no"]}
    row = {"tables": [4], "paper": {"ap50": 0.71}, "tolerance": {"ap50": 0.03}}
    runs = registry(tmp_path, lacking=lacking, broken=broken, pretrain_none=row, same={})
    line = ["--config", str(base), "--ablations", str(runs), "--epochs", "1", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["run_all_ablations.py", *line])
    assert run_all_ablations.main() == 1
    results = tmp_path / "results"
    with open(results / "ablation_summary.csv", encoding="utf-8", newline="") as file:
        states = {row["name"]: row["state"] for row in csv.DictReader(file)}
    assert states["lacking"].startswith(f"needs {lost}")
    assert states["broken"].startswith("failed: model.detector = 'no'")
    assert states["pretrain_none"] == states["same"] == "done"
    assert [path.name for path in (results / "runs").iterdir()] == ["ablation_pretrain_none_seed0"]
    kept = {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and "broken" not in str(path)}
    capfd.readouterr()
    with environment(OMP_NUM_THREADS="1"):
        assert run_all_ablations.main() == 1
    assert "pretrain_none, seed 0: done before" in capfd.readouterr().out
    changed = [path for path, content in kept.items() if path.read_bytes() != content]
    assert [path.name for path in changed if path.name not in ("ablation_summary.csv", "state.json")] == []
    result = json.loads((results / "ablations" / "same.json").read_text())
    assert result["missing"] == {}
    assert result["by_seed"]["0"]["epochs_trained"] == 1
    csv_file = rewrite(results, runs, tmp_path / "tables")[1]
    with open(csv_file, encoding="utf-8", newline="") as file:
        cell = next(row for row in csv.DictReader(file) if row["row"] == "Kaiming initialisation")
    assert float(cell["mean"]) == result["ap50"]
    assert (cell["verdict"], cell["seeds"], cell["why"]) == ("other data", "1", "")
