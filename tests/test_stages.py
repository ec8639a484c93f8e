"""The runs a chain stands for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from training.stages import Stage, plan_stages


def planned(*overrides: str, weights: str | None = None) -> tuple[list[Stage], str | None, str | None]:
    plan = plan_stages(load_config("configs/train.yaml", overrides), weights)
    return list(plan.stages), plan.detector, plan.branch


def test_what_needs_no_stage_has_none() -> None:
    assert planned("pretrain=null") == ([], None, None)
    assert planned("pretrain=coco") == ([], "coco", None)
    assert planned("pretrain=a.pt", "stages.branch=b.pt") == ([], "a.pt", "b.pt")
    assert planned("pretrain=coco+hyperkvasir", weights="w.pt") == ([], "w.pt", None)


def test_a_chain_of_the_detector_is_plain_detectors_one_after_another() -> None:
    stages, detector, branch = planned("pretrain=coco+hyperkvasir", "sr_decoder=none", "model.detector=yolov8s")
    (stage,) = stages
    assert (stage.name, detector, branch) == ("coco+hyperkvasir", str(stage.best), None)
    assert stage.best == Path("results/runs/stage_coco-hyperkvasir_yolov8s/best.pt")
    assert (stage.config.pretrain, stage.config.sr_decoder, stage.config.model.detector) == ("coco", "none", "yolov8s")
    assert (stage.config.dataset.name, stage.config.run.fixed_copies) == ("hyperkvasir", False)
    assert planned("pretrain=hyperkvasir")[0][0].config.pretrain is None


def test_a_chain_of_the_branch_hands_on_both_parts() -> None:
    chain = "stages.branch=coco+hyperkvasir_unlabelled+hyperkvasir"
    stages, detector, branch = planned("pretrain=coco", chain, "model.branch_width=32")
    assert [stage.name for stage in stages] == ["coco", "coco+hyperkvasir_unlabelled",
                                                "coco+hyperkvasir_unlabelled+hyperkvasir"]  # fmt: skip
    assert [stage.config.stages.train for stage in stages] == ["branch", "branch", "all"]
    assert {stage.config.model.branch_width for stage in stages} == {32}
    assert [stage.config.pretrain for stage in stages] == ["coco", str(stages[0].best), str(stages[1].best)]
    assert [stage.config.stages.branch for stage in stages] == [None, str(stages[0].best), str(stages[1].best)]
    assert (detector, branch) == ("coco", str(stages[2].best))


def test_one_chain_for_both_parts_is_trained_once() -> None:
    for chain, n_stages in (("coco+hyperkvasir", 2), ("hyperkvasir", 1)):
        stages, detector, branch = planned(f"pretrain={chain}", f"stages.branch={chain}")
        assert len(stages) == n_stages
        assert detector == branch == str(stages[-1].best)
        assert stages[0].config.pretrain == ("coco" if n_stages == 2 else None)


def test_a_branch_learns_on_the_detector_it_will_meet() -> None:
    stages, detector, _ = planned("pretrain=mine.pt", "stages.branch=hyperkvasir_unlabelled")
    assert (stages[0].config.pretrain, detector) == ("mine.pt", "mine.pt")
    others, _, _ = planned("pretrain=coco", "stages.branch=hyperkvasir_unlabelled")
    narrow, _, _ = planned("pretrain=coco", "stages.branch=hyperkvasir_unlabelled", "model.branch_width=8")
    assert len({stages[0].run_dir, others[0].run_dir, narrow[0].run_dir}) == 3


def test_the_command_of_a_stage_makes_its_config() -> None:
    stages, _, _ = planned("pretrain=coco", "stages.branch=coco", "run.results_dir=out folder", "run.wandb=off")
    (stage,) = stages
    assert load_config(stage.config_path, stage.overrides) == stage.config
    assert stage.command.startswith("python train.py --config configs/coco.yaml --split 1 sr_decoder=deep ")
    assert "'run.results_dir=out folder'" in stage.command
    assert stage.config.run.wandb == "off"


def test_a_set_that_cannot_train_a_detector_is_named() -> None:
    with pytest.raises(InputError, match=r"stage coco\+hyperkvasir_unlabelled: .*stages\.train = branch: there is no"):
        planned("pretrain=coco+hyperkvasir_unlabelled")
    with pytest.raises(InputError, match=r"stage mine: nowhere\.yaml: no such config file"):
        planned("pretrain=mine", "stages.sets={mine: {config: nowhere.yaml}}")


def write_run(stage: Stage, config: Config, *, result: bool) -> None:
    stage.run_dir.mkdir(parents=True, exist_ok=True)
    (stage.run_dir / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (stage.run_dir / "run.json").write_text(json.dumps({"result": {}} if result else {}))


def test_how_a_stage_stands_is_read_from_its_folder(tmp_path: Path) -> None:
    results = f"run.results_dir={tmp_path}"
    (stage,), _, _ = planned("pretrain=coco+hyperkvasir", results)
    assert stage.state() == "to be trained"
    write_run(stage, stage.config, result=False)
    assert stage.state() == "to be trained"  # nothing in it to go on with
    (stage.run_dir / "last.1.pt").touch()
    assert stage.state() == "begun"
    stage.best.touch()
    write_run(stage, stage.config, result=True)
    assert stage.state() == "finished"
    (elsewhere,), _, _ = planned("pretrain=coco+hyperkvasir", results, "run.workers=7")
    assert elsewhere.state() == "finished"  # another machine's settings do not make it another run
    sets = "stages.sets.hyperkvasir={config: configs/hyperkvasir.yaml, overrides: [epochs=3, lr0=1e-3]}"
    (changed,), _, _ = planned("pretrain=coco+hyperkvasir", results, sets)
    told = r"settings \(lr0: 0\.05, now 0\.001, epochs: 100, now 3, augment\.close_mosaic: 10, now 1\); set them back"
    with pytest.raises(InputError, match=told):
        changed.state()
