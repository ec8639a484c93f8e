"""What saved results say of a run: values by seed, mean, interval, and what is missing and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_samples import SCORING, SavedStudy

from data_utils.ablation_registry import read_registry
from data_utils.errors import InputError
from evaluation.headline import headline_intervals
from evaluation.prediction_file import load
from evaluation.tables import gather
from evaluation.tables.gather import Study

REGISTRY = read_registry("configs/ablations.yaml")


@pytest.fixture
def saved(tmp_path: Path) -> SavedStudy:
    """A study with two runs of two seeds."""
    made = SavedStudy(tmp_path)
    made.add("plain", (0, 1), missed=0.5)
    made.add("branch", (0, 1), missed=0.1)
    return made


def study_of(saved: SavedStudy) -> Study:
    return Study(saved.folder, REGISTRY)


def values(saved: SavedStudy, run: str, key: str = "ap50") -> list[float]:
    return [json.loads(saved.evaluation(run, seed).read_text())["metrics"][key] for seed in (0, 1)]


def test_mean_and_spread_over_seeds(saved: SavedStudy) -> None:
    first, second = values(saved, "plain")
    measured = study_of(saved).measured("plain", "ap50")
    assert measured.mean == pytest.approx((first + second) / 2)
    assert measured.sd == pytest.approx(abs(first - second) / 2**0.5)
    assert study_of(saved).measured("plain", "fps").mean == 20.5
    assert study_of(saved).measured("plain", "fps").low is None


def test_the_interval_of_one_seed_is_that_of_its_evaluation(tmp_path: Path) -> None:
    saved = SavedStudy(tmp_path)
    saved.add("plain", (0,), missed=0.3)
    predictions = saved.evaluation("plain").with_name("predictions_best_test.jsonl")
    own = headline_intervals(load(predictions).results, SCORING, None)[0]["ap50"]
    measured = study_of(saved).measured("plain", "ap50")
    assert (measured.low, measured.high) == (own.bca_low, own.bca_high)
    assert measured.low is not None
    assert measured.low < own.value < measured.high  # pyright: ignore[reportOperatorIssue]
    assert measured.sd is None


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


def test_a_difference_is_taken_over_the_same_patients(saved: SavedStudy) -> None:
    study = study_of(saved)
    found = study.difference("branch", "plain", "ap50")
    assert found is not None
    difference, by_seed = found
    pairs = zip(values(saved, "branch"), values(saved, "plain"), strict=True)
    assert by_seed == pytest.approx([one - other for one, other in pairs])
    assert difference.value == pytest.approx(sum(by_seed) / 2)
    assert difference.value > 0
    same = study.difference("plain", "plain", "ap50")
    assert same is not None
    assert (same[0].value, same[0].se, same[0].bca_low) == (0, 0, None)  # unpaired, it would have a width


def test_runs_on_other_frames_are_not_compared(saved: SavedStudy, tmp_path: Path) -> None:
    saved.frames = saved.frames[:-1]
    saved.add("plain_p2", (0, 1))
    study = study_of(saved)
    assert study.difference("plain_p2", "plain", "ap50") is None
    assert study.notes_of(["plain_p2"]) == [
        "plain_p2 against plain: no comparison (the two models were not scored on the same frames: 15 and 16 frames, 0 "
        "of the first not in the second; evaluate both on one list)."
    ]


def test_a_difference_needs_every_seed_of_both_and_says_which_it_is_over(saved: SavedStudy) -> None:
    saved.add("branch", (0, 1, 2), missed=0.1)
    study = study_of(saved)
    found = study.difference("branch", "plain", "ap50")
    assert found is not None
    assert len(found[1]) == 2
    text = "branch against plain: difference over seeds 0, 1; only one of them has 2."
    assert study.notes_of(["branch"]) == [text]
    evaluation = saved.evaluation("branch", 2)
    evaluation.write_text(evaluation.read_text()[:-20])  # its predictions are whole, and the cell has no mean
    assert study_of(saved).difference("branch", "plain", "ap50") is None


def score_by(saved: SavedStudy, run: str, seed: int, **changes: object) -> None:
    path = saved.evaluation(run, seed).with_name("predictions_best_test.jsonl")
    head, rest = path.read_text().split("\n", 1)
    about = json.loads(head)
    about["scoring"]["eval"] |= changes.pop("eval", {})  # pyright: ignore[reportArgumentType, reportCallIssue]
    about["scoring"] |= changes
    path.write_text(json.dumps(about) + "\n" + rest)


def test_runs_and_seeds_scored_by_other_rules_are_not_compared(saved: SavedStudy) -> None:
    for seed in (0, 1):
        score_by(saved, "branch", seed, eval={"max_det": 5})
    study = study_of(saved)
    assert study.difference("branch", "plain", "ap50") is None
    assert "branch against plain: no comparison (not scored by the same rules: eval.max_det = " in str(
        study.notes_of(["branch"])
    )
    score_by(saved, "plain", 1, conf_thresh=0.5)
    study = study_of(saved)
    assert study.measured("plain", "ap50").low is None
    assert "plain: no interval (the seeds were not scored by the same rules; seed 1: conf_thresh = 0.5" in str(
        study.notes_of(["plain"])
    )


def test_sizes_counted_in_inputs_of_two_sides_are_not_compared(saved: SavedStudy) -> None:
    for seed in (0, 1):
        score_by(saved, "plain", seed, eval={"size_reference": "input"})
        score_by(saved, "branch", seed, eval={"size_reference": "input"}, imgsz=960)
    study = study_of(saved)
    assert study.difference("branch", "plain", "ap50") is not None
    assert study.difference("branch", "plain", "small") is None
    assert "sizes are counted in pixels of inputs of 960 and 640 px" in str(study.notes_of(["branch"]))


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


def test_each_file_is_read_and_each_oddity_told_once(saved: SavedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    torn = saved.evaluation("plain", 0).with_name("predictions_best_test.jsonl")
    torn.write_text("{")
    read: list[Path] = []
    monkeypatch.setattr(gather, "load", lambda path: (read.append(path), load(path))[1])
    study = study_of(saved)
    for _ in range(2):
        for measure in ("ap50", "small"):
            assert study.measured("plain", measure).low is None
            assert study.difference("branch", "plain", measure) is None
    assert read.count(torn) == 1
    assert len(study.notes_of(["plain"])) == 1


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
