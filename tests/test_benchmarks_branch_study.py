"""Branches trained side by side."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from conftest import PreparedSet

from data_utils.config.loading import override_config
from data_utils.errors import InputError
from training.benchmarks import branch_study
from training.benchmarks.branch_ledger import Shape
from training.benchmarks.branch_study import run_branch_study, summarise


def curve(last: float, n: int = 20) -> list[dict[str, float]]:
    return [{"epoch": i + 1, "psnr": last - (n - 1 - i) * 0.1, "ap50_small": i / n} for i in range(n)]


def test_the_summary_averages_the_last_five_epochs() -> None:
    curves = {("deep", 1): curve(30.0), ("light", 1): curve(29.5), ("none", 1): [{"epoch": 1.0, "ap50": 0.5}]}
    deep, light, none = summarise(curves, dict.fromkeys(curves, ""))
    assert deep["psnr"] == pytest.approx(29.8)  # 30.0, 29.9 ... 29.6
    assert deep["psnr_behind_deep"] == 0
    assert light["psnr_behind_deep"] == pytest.approx(0.5)
    assert light["psnr_gain_of_last_fifth"] == pytest.approx(0.4)  # four of twenty epochs
    assert light["ap50_small"] == pytest.approx(0.85)
    assert (none["epochs"], none["ap50"], none["psnr"], none["psnr_behind_deep"]) == (1, 0.5, None, None)


def test_a_training_without_an_epoch_or_without_deep_beside_it_has_a_row() -> None:
    curves: dict = {("light", 1): curve(30.0), ("deep", 2): []}
    light, deep = summarise(curves, {("light", 1): "", ("deep", 2): "time is up (9 s)"})
    assert light["psnr_behind_deep"] is None
    assert (deep["epochs"], deep["psnr"], deep["left_out"]) == (0, None, "time is up (9 s)")


def test_unknown_variants_and_runs_that_exist_are_refused(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    config = override_config(tiny_prepared.config, [f"run.results_dir='{tmp_path}'"])
    with pytest.raises(InputError, match="variants: depe: not among none, deep"):
        run_branch_study(config, 1, "cpu", variants=["depe"])
    (tmp_path / "runs/branch_light_seed42").mkdir(parents=True)
    with pytest.raises(InputError, match="this run exists"):
        run_branch_study(config, 1, "cpu", variants=["light"])


@pytest.mark.integration
def test_two_trainings_side_by_side_leave_curves_and_a_summary(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thin = Shape("deep", "narrowing", 8, 8, window=0.5)
    monkeypatch.setattr(branch_study, "VARIANTS", {"none": None, "deep": thin})
    settings = [f"run.results_dir='{tmp_path}'", "lr0=0.001", "sr_resblocks=1"]
    config = override_config(tiny_prepared.config, settings)
    rows = run_branch_study(
        config, 1, "cpu", variants=["none", "deep"], epochs=1, jobs=2, seconds=600, save=tmp_path / "saved"
    )
    assert [row["left_out"] for row in rows] == ["", ""]
    with open(tmp_path / "saved/branch_curves_cpu.csv", encoding="utf-8", newline="") as file:
        none, deep = csv.DictReader(file)
    assert none["psnr"] == ""
    assert 5 < float(deep["psnr"]) < 60
    assert (tmp_path / "saved/branch_study_cpu.json").is_file()
