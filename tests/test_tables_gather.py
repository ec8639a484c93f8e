"""What saved results say of a run: values by seed, mean, interval, and what is missing and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_samples import SavedStudy, study_of, two_runs, values

from data_utils.errors import InputError


@pytest.fixture
def saved(tmp_path: Path) -> SavedStudy:
    """A study with two runs of two seeds."""
    return two_runs(tmp_path)


def test_mean_and_spread_over_seeds(saved: SavedStudy) -> None:
    first, second = values(saved, "plain")
    measured = study_of(saved).measured("plain", "ap50")
    assert measured.mean == pytest.approx((first + second) / 2)
    assert measured.sd == pytest.approx(abs(first - second) / 2**0.5)
    assert study_of(saved).measured("plain", "fps").mean == 20.5
    assert study_of(saved).measured("plain", "fps").low is None


def test_a_missing_seed_takes_the_mean_away(saved: SavedStudy) -> None:
    saved.lose("plain", 2, "failed", "memory")
    measured = study_of(saved).measured("plain", "ap50")
    assert measured.mean is None
    assert measured.low is None
    assert sorted(measured.by_seed) == [0, 1]
    assert measured.missing == {2: "failed: memory"}


@pytest.mark.parametrize(
    ("state", "why", "text"),
    [
        ("needs", "weights/yolov8n.pt", "needs weights/yolov8n.pt"),
        ("stopped", "disk full", "stopped: disk full"),
        ("running", "", "not finished: the same command goes on with it"),
    ],
)
def test_why_a_seed_is_missing(saved: SavedStudy, state: str, why: str, text: str) -> None:
    saved.lose("sr_light", 0, state, why)
    assert study_of(saved).measured("sr_light", "ap50").missing == {0: text}


def test_a_run_that_was_never_asked_for_and_one_of_other_settings(saved: SavedStudy) -> None:
    assert "has not been asked for it" in study_of(saved).measured("sr_light", "ap50").missing[0]
    saved.plan["plain"]["key"] = "other"
    saved.plan["plain"]["needs"] = "stage coco"
    saved._write_plan()
    assert study_of(saved).measured("plain", "ap50").missing == {0: "needs stage coco", 1: "needs stage coco"}


@pytest.mark.parametrize("value", [None, [], {"test": None}, "x"])
def test_a_result_of_wrong_types_is_a_missing_one(saved: SavedStudy, value: object) -> None:
    path = saved.folder / "ablations" / "plain" / "seed0" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"evaluations": value}))
    path.with_name("state.json").write_text(json.dumps({"key": "plain", "why": 3}))
    study = study_of(saved)
    assert study.measured("plain", "ap50").missing == {0: "not finished: the same command goes on with it"}
    assert study.difference("branch", "plain", "ap50") is None
    assert study.seconds("plain") == 90


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "0.5", True, [0.5]])
def test_what_is_no_number_is_no_value(saved: SavedStudy, value: object) -> None:
    evaluation = saved.evaluation("plain", 1)
    record = json.loads(evaluation.read_text())
    record["metrics"]["ap50"] = value
    evaluation.write_text(json.dumps(record))
    measured = study_of(saved).measured("plain", "ap50")
    assert (measured.mean, list(measured.missing)) == (None, [1])


def test_an_evaluation_that_was_made_again_by_other_rules_is_told(saved: SavedStudy) -> None:
    path = saved.folder / "ablations" / "plain" / "seed0" / "result.json"
    result = json.loads(path.read_text())
    now = values(saved, "plain")[0]
    for then, told in ((now, False), (now + 0.01, True)):
        path.write_text(json.dumps(result | {"ap50": then}))
        study = study_of(saved)
        assert study.measured("plain", "ap50").mean is not None
        assert ("plain/seed0 was evaluated again by other rules" in str(study.notes_of(["plain"]))) == told


def test_a_registry_that_changed_since_is_told(saved: SavedStudy) -> None:
    for overrides, told in ((["sr_decoder=none"], 0), (["sr_decoder=none", "c2=1"], 1)):
        saved.plan["plain"]["overrides"] = overrides
        saved._write_plan()
        study = study_of(saved)
        assert study.measured("plain", "ap50").mean is not None
        assert len(study.notes_of(["plain"])) == told
    assert study.notes_of(["plain"]) == ["plain: run with sr_decoder=none c2=1; the registry now says sr_decoder=none."]


def test_a_torn_prediction_file_is_told_and_a_torn_evaluation_is_missing(saved: SavedStudy) -> None:
    predictions = saved.evaluation("plain", 1).with_name("predictions_best_test.jsonl")
    predictions.write_text(predictions.read_text()[:-40])
    study = study_of(saved)
    measured = study.measured("plain", "ap50")
    assert measured.mean == pytest.approx(sum(values(saved, "plain")) / 2)  # the evaluation is whole
    assert measured.low is None
    assert "plain, seed 1: predictions_best_test.jsonl: the last line is torn" in study.notes_of(["plain"])[0]
    evaluation = saved.evaluation("branch", 1)
    evaluation.write_text(evaluation.read_text()[:-20])
    assert "not a whole evaluation" in study_of(saved).measured("branch", "ap50").missing[1]


def test_an_external_set_that_was_not_there(saved: SavedStudy) -> None:
    path = saved.folder / "ablations" / "plain" / "seed0" / "result.json"
    result = json.loads(path.read_text())
    del result["evaluations"]["ext"]
    path.write_text(json.dumps(result))
    assert "no external set" in study_of(saved).measured("plain", "ext_small").missing[0]


def test_a_spoiled_plan_is_refused(saved: SavedStudy) -> None:
    (saved.folder / "ablations" / "plan.json").write_text("{")
    with pytest.raises(InputError, match="not a plan of run_all_ablations"):
        study_of(saved).measured("plain", "ap50")


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"seeds": {}}, "plain.seeds"), ({"seeds": {"x": "plain/seed0"}}, "plain.seeds"), ({"imgsz": None}, "plain.imgsz"),
     ({"dataset": ["lesions"]}, "plain.dataset")],
)  # fmt: skip
def test_a_plan_of_wrong_types_is_refused_where_it_is_wrong(saved: SavedStudy, changes: dict, where: str) -> None:
    saved.plan["plain"] |= changes
    saved._write_plan()
    with pytest.raises(InputError, match=rf"plan\.json: not a plan of run_all_ablations\.py \({where}"):
        study_of(saved).measured("plain", "ap50")


def test_what_the_runs_were_made_on_is_said(saved: SavedStudy) -> None:
    lines = study_of(saved).about(["plain", "branch", "never"])
    assert lines == [
        "Ours: lesions split 1, 640 px, 20 epochs, seeds 0, 1, settings configs/train.yaml.",
        "The paper trained for 100 epochs.",
    ]
    assert study_of(saved).seconds("plain") == 90
    elsewhere = SavedStudy(saved.folder, dataset="bccd", imgsz=320)
    elsewhere.add("plain")
    assert any("Not the paper's data" in line for line in study_of(elsewhere).about(["plain"]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 40}, False),  # of a plan without base: a run may train longer by its registry
        ({"split": 2}, True),
        ({"config": "configs/bccd.yaml"}, True),
        ({"base": "a"}, False),  # nothing is known of the other's
    ],
)
def test_runs_that_differ_in_more_than_overrides_are_compared_with_a_note(
    saved: SavedStudy, changes: dict, told: bool
) -> None:
    saved.plan["branch"] |= changes
    saved._write_plan()
    study = study_of(saved)
    assert study.difference("branch", "plain", "ap50") is not None
    assert ("they differ in more than overrides" in str(study.notes_of(["branch"]))) == told


def test_what_all_runs_of_a_command_were_asked_tells_two_commands_apart(saved: SavedStudy) -> None:
    saved.plan["plain"] |= {"base": "a", "settings": ["run.workers=2", "c1=5"]}
    saved.plan["branch"] |= {"base": "b", "settings": [], "epochs": 3}
    saved._write_plan()
    study = study_of(saved)
    assert study.difference("branch", "plain", "ap50") is not None
    assert study.notes_of(["branch"]) == [
        "branch against plain: they differ in more than overrides (split 1, 640 px, 3 epochs, configs/train.yaml; "
        "split 1, 640 px, 20 epochs, configs/train.yaml c1=5)."
    ]
    assert "settings configs/train.yaml c1=5." in study.about(["plain"])[0]


def test_a_row_that_names_a_split_says_when_its_run_was_made_on_another(saved: SavedStudy) -> None:
    saved.add("pretrain_coco", split=2)
    told = study_of(saved).on_other_splits({"pretrain_coco": 1, "plain": 1, "never": 3})
    assert told == ["pretrain_coco was run on split 2, not on split 1 as its row says."]
