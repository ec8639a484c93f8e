"""Results by their fixed names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from ablation_samples import base_config, registry, write_result
from conftest import PreparedSet

from data_utils.config.ablations import read_registry
from data_utils.errors import InputError
from training import ablation
from training.ablation import describe, result_path, run_ablation, write_results
from training.ablations.job import Outcome
from training.ablations.plan import Asked, make_plan


def test_the_table_of_runs_says_what_is_missing_and_what_is_the_same() -> None:
    runs = read_registry("configs/ablations.yaml")
    asked = Asked(seeds=(0, 1))
    text = describe(runs, make_plan(runs, list(runs), asked), asked)
    assert "needs: stage coco: data/coco/splits/split1/train.txt: no such split list" in text
    assert "`python -m data_utils.prepare --config configs/hyperkvasir.yaml`" in text
    assert "is: run pretrain_coco, of the same settings" in text
    assert "note: another architecture" in text
    assert [line.strip() for line in text.splitlines() if "trained:" in line] == [
        "trained: 40 epochs at 640 px", "trained: 20 epochs at 960 px",  # plain_longer, plain_larger_input
    ]  # fmt: skip
    assert text.splitlines()[-1].startswith("39 runs, 66 trainings of their own (seeds 0, 1; 20 epochs)")


def test_a_mean_is_over_all_seeds_or_not_given(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path)
    runs = read_registry(registry(tmp_path, one={"paper": {"ap50": 0.7}}, two={"overrides": ["c2=1"]}))
    plan = make_plan(runs, list(runs), Asked(str(base), seeds=(0, 1)))
    for job in plan.jobs:
        write_result(job)
    outcomes = dict.fromkeys(plan.jobs, Outcome("done"))
    lost = plan.cells["two"][1]
    outcomes[lost] = Outcome("failed", "memory")
    path = write_results(runs, plan, outcomes, tmp_path / "results")
    with open(path, encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["one"]["ap50"], rows["one"]["ap50_sd"], rows["one"]["seeds"]) == ("0.5", "0.0", "2 of 2")
    assert (rows["one"]["paper_ap50"], rows["one"]["state"]) == ("0.7", "done")
    assert (rows["two"]["ap50"], rows["two"]["seeds"]) == ("", "1 of 2")
    assert rows["two"]["state"] == "seed 0: done; seed 1: failed: memory"
    kept = json.loads(result_path("two", tmp_path / "results").read_text())
    assert kept["ap50"] is None
    assert kept["missing"] == {"1": "failed: memory"}
    assert kept["by_seed"]["0"]["ap50"] == 0.5


def test_weights_that_are_not_there_are_said_before_anything_runs(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path)
    (tmp_path / "here.pt").touch()
    starts = {name: {"overrides": [f"pretrain='{tmp_path / name}.pt'"]} for name in ("here", "lost")}
    runs = read_registry(registry(tmp_path, **starts, coco={"overrides": ["pretrain=coco"]}))
    asked = Asked(str(base))
    text = describe(runs, make_plan(runs, list(runs), asked), asked)
    assert [line.strip() for line in text.splitlines() if "needs" in line] == [f"needs: {tmp_path / 'lost.pt'}"]
    assert f"refused: {tmp_path / 'here.pt'}: not a PyTorch weights file" in text


def test_a_detector_that_no_run_could_build_is_said_before_anything_runs(
    tiny_prepared: PreparedSet, tmp_path: Path
) -> None:
    runs = read_registry(registry(tmp_path, odd={"overrides": ["model.detector=yolov8q"]}, fine={}))
    asked = Asked(str(base_config(tiny_prepared, tmp_path)))
    text = describe(runs, make_plan(runs, list(runs), asked), asked)
    assert "refused: model.detector = 'yolov8q': not a detector, did you mean 'yolov8" in text
    assert text.count("refused") == 1


def test_what_another_runner_finished_meanwhile_is_there(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    runs = read_registry(registry(tmp_path, one={}))
    plan = make_plan(runs, ["one"], Asked(str(base_config(tiny_prepared, tmp_path))))
    outcomes = {plan.jobs[0]: Outcome("busy", "process 7 works in it")}
    for finished, state in ((False, "busy: process 7 works in it"), (True, "done before")):
        if finished:
            write_result(plan.jobs[0])
        path = write_results(runs, plan, outcomes, tmp_path / "results")
        assert next(csv.DictReader(path.open(encoding="utf-8", newline="")))["state"] == state
    assert json.loads(result_path("one", tmp_path / "results").read_text())["missing"] == {}


def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(
    tiny_prepared: PreparedSet, tmp_path: Path
) -> None:
    base = base_config(tiny_prepared, tmp_path)
    for name in ("../../out", "a/b", "plan", "..", ""):
        with pytest.raises(InputError, match=f"run '{name}': name: "):
            run_ablation(name, [], config_path=base, device="cpu")
    assert not (tmp_path / "results").exists()


@pytest.mark.integration
def test_a_run_trains_evaluates_and_keeps_its_result(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path)
    result = run_ablation("mine", {"epochs": 1, "pretrain": None}, config_path=base, device="cpu")
    assert result.keys() == {"name", "overrides", "split", "ap50", "fps", "gflops", "epochs_trained"}
    assert (result["name"], result["epochs_trained"]) == ("mine", 1)
    results = tmp_path / "results"
    assert json.loads(result_path("mine", results).read_text()) == result
    assert ablation.result_path("mine", results) == results / "ablations" / "mine.json"
    own = json.loads((results / "ablations" / "mine" / "seed42" / "result.json").read_text())
    evaluation = json.loads((results / own["evaluations"]["test"]).read_text())
    assert evaluation["metrics"]["ap50"] == result["ap50"]
    with pytest.raises(InputError, match=r"mine/seed42: holds this run with other settings \(epochs=1 then, epochs=2"):
        run_ablation("mine", ["epochs=2", "pretrain=null"], config_path=base, device="cpu")
