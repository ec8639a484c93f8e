"""The registry of the paper's runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from conftest import PreparedSet

from data_utils.config import load_config, override_config
from data_utils.errors import InputError
from training import ablation
from training.ablation import describe, is_done, read_ablations, result_path, run_ablation, write_summary

# Published AP50 by table: (table, values in its own order)
PUBLISHED = {
    4: [0.71, 0.72, 0.75, 0.77],
    5: [0.77, 0.71, 0.70, 0.77],
    6: [0.80, 0.82],
    7: [0.82, 0.80],
    8: [0.82, 0.72, 0.79, 0.80, 0.82],
}


def test_the_registry_holds_the_fourteen_published_runs() -> None:
    runs = read_ablations("configs/ablations.yaml", "configs/train.yaml")
    assert len(runs) == 14
    for table, published in PUBLISHED.items():
        ours = [run.paper["ap50"] for run in runs.values() if table in run.tables]
        assert sorted(ours) == sorted(published)


def test_overrides_give_the_run_the_name_says() -> None:
    runs = read_ablations("configs/ablations.yaml", "configs/train.yaml")
    configs = {name: load_config("configs/train.yaml", run.overrides) for name, run in runs.items()}
    assert not configs["pretrain_coco"].has_branch
    assert configs["sr_layers_26"].sr_layers == (2, 6)
    assert configs["sr_light"].sr_decoder == "light"
    assert configs["yolov8s"].model.detector == "yolov8s"
    assert configs["sr_kaiming"] == load_config("configs/train.yaml")


def test_the_table_shows_what_is_missing() -> None:
    registry = read_ablations("configs/ablations.yaml", "configs/train.yaml")
    table = describe(registry)
    assert "pretrain_none" in table
    assert "needs: stage coco: data/coco/splits/split1/train.txt: no such split list" in table
    assert "`python -m data_utils.prepare --config configs/hyperkvasir.yaml`" in table
    ready = [name for name, run in registry.items() if run.needs is None]
    assert ready == ["pretrain_none", "pretrain_coco", "yolov5s", "yolov5n", "yolov8s", "sr_kaiming"]
    assert "note: another architecture" in table


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tables": [4], "overrides": ["lro=1"], "paper": {"ap50": 0.5}}, "run 'bad': .*did you mean 'lrf'"),
        ({"tables": [4], "overrides": [], "papr": {}}, "run 'bad': "),
    ],
)
def test_a_bad_run_is_named(tmp_path: Path, values: dict, message: str) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"runs": {"bad": values}}))
    with pytest.raises(InputError, match=message):
        read_ablations(tmp_path / "a.yaml", "configs/train.yaml")


def test_an_empty_registry_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("runs: {}\n")
    with pytest.raises(InputError, match="lists no runs"):
        read_ablations(tmp_path / "a.yaml", "configs/train.yaml")


def test_the_summary_says_of_every_run_how_it_stands(tmp_path: Path) -> None:
    runs = dict(list(read_ablations("configs/ablations.yaml", "configs/train.yaml").items())[:2])
    path = result_path("pretrain_none", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"name": "pretrain_none", "ap50": 0.5, "epochs_trained": 3}))
    summary = write_summary(runs, {"pretrain_none": "done", "pretrain_hyperkvasir": "failed: no file"}, tmp_path)
    with open(summary, encoding="utf-8", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["pretrain_none"]["ap50"], rows["pretrain_none"]["paper_ap50"]) == ("0.5", "0.71")
    assert (rows["pretrain_hyperkvasir"]["ap50"], rows["pretrain_hyperkvasir"]["state"]) == ("", "failed: no file")


@pytest.mark.integration
def test_a_run_trains_evaluates_and_keeps_its_result(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = override_config(tiny_prepared.config, [f"run.results_dir='{tmp_path}'", "sr_decoder=none"])
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    result = run_ablation("mine", {"epochs": 1, "pretrain": None}, config_path=tmp_path / "base.yaml", device="cpu")
    assert result.keys() == {"name", "overrides", "split", "ap50", "fps", "gflops", "epochs_trained"}
    assert (result["name"], result["epochs_trained"]) == ("mine", 1)
    assert is_done("mine", ["epochs=1", "pretrain=null"], 1, tmp_path)
    assert not is_done("mine", ["epochs=2", "pretrain=null"], 1, tmp_path)
    assert not is_done("mine", ["epochs=1", "pretrain=null"], 2, tmp_path)
    assert json.loads(result_path("mine", tmp_path).read_text()) == result
    assert ablation.result_path("mine", tmp_path) == tmp_path / "ablations" / "mine.json"
