"""Intervals and differences over the same patients, and between what there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_samples import SCORING, SavedStudy, study_of, two_runs, values

from evaluation.paper import results
from evaluation.passes.stored import load
from evaluation.statistics.headline import headline_intervals


@pytest.fixture
def saved(tmp_path: Path) -> SavedStudy:
    """A study with two runs of two seeds."""
    return two_runs(tmp_path)


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


def test_a_difference_is_taken_over_the_same_patients(saved: SavedStudy) -> None:
    study = study_of(saved)
    found = study.difference("branch", "plain", "ap50")
    assert found is not None
    difference, by_seed = found
    pairs = zip(values(saved, "branch"), values(saved, "plain"), strict=True)
    assert by_seed == pytest.approx({seed: one - other for seed, (one, other) in enumerate(pairs)})
    assert difference.value == pytest.approx(sum(by_seed.values()) / 2)
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


def test_a_difference_between_inputs_of_two_sides_counts_sizes_in_the_partners(saved: SavedStudy) -> None:
    """Detections of both runs are the same in the end, and only the size of branch's inputs differs."""
    expected = study_of(saved).difference("branch", "plain", "small")
    for seed in (0, 1):
        score_by(saved, "plain", seed, eval={"size_reference": "input"})
        score_by(saved, "branch", seed, eval={"size_reference": "input"}, imgsz=960)
        for run, times in (("plain", 1), ("branch", 3)):  # at 3 times the side no box would be a small one
            path = saved.evaluation(run, seed).with_name("predictions_best_test.jsonl")
            head, *frames = map(json.loads, path.read_text().splitlines())
            sized = [frame | {"input": [times * side for side in frame["size"]]} for frame in frames]
            path.write_text("".join(json.dumps(line) + "\n" for line in (head, *sized)))
    study = study_of(saved)
    found = study.difference("branch", "plain", "small")
    assert expected is not None
    assert found == expected
    assert study.notes_of(["branch"]) == [
        "branch against plain: the difference counts sizes in pixels of plain's input, 640 px, the mean in its own, "
        "960 px."
    ]


def test_each_file_is_read_and_each_oddity_told_once(saved: SavedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    torn = saved.evaluation("plain", 0).with_name("predictions_best_test.jsonl")
    torn.write_text("{")
    read: list[Path] = []
    monkeypatch.setattr(results, "load", lambda path: (read.append(path), load(path))[1])
    study = study_of(saved)
    for _ in range(2):
        for measure in ("ap50", "small"):
            assert study.measured("plain", measure).low is None
            assert study.difference("branch", "plain", measure) is None
    assert read.count(torn) == 1
    assert len(study.notes_of(["plain"])) == 1
