"""Scoring stored predictions: a pure function of the files, thresholds from validation, and the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import frame_result, random_results, small_config

from data_utils.errors import InputError
from evaluation.passes.stored import load, store
from evaluation.score import DEFAULT_THRESHOLD, evaluation_path, find_predictions, main, rescore, score, validation_pass
from evaluation.scoring.operating_points import best_f1
from evaluation.statistics.headline import Scoring


def write_pass(folder, data, results, weights="w", name="best", **about):
    """Store a pass as evaluate.py does, under settings with few resamples; return its file."""
    scoring = Scoring.of(small_config("eval.resamples=30"))
    about = {
        "data": data,
        "label": f"set_{data}",
        "split": 1,
        "list_sha256": f"list of {data}",
        "unit": "patient",
        "imgsz": 96,
        "conf_thresh": 0.001,
        "config_sha256": "c",
        "results_dir": str(folder / "results"),
        "scoring": scoring.as_dict(),
        "weights": f"{name}.pt",
        "weights_sha256": weights,
        "epoch": 3,
        "notes": ["a note"],
        **about,
    }
    return store(folder / f"predictions_{name}_set_{data}.jsonl", results, about)[0]


def results(seed):
    """Frames and patients of their own for each seed, as the parts of a split have them."""
    frames = random_results(np.random.default_rng(seed), n_frames=20, nc=2, n_patients=8)
    return [
        replace(r, stem=f"{seed}_{r.stem}", patient_id=f"{seed}_{r.patient_id}", group=f"{seed}_{r.group}")
        for r in frames
    ]


def test_scoring_is_a_pure_function_of_the_files(tmp_path):
    path = write_pass(tmp_path, "test", results(0))
    write_pass(tmp_path, "val", results(1))
    stored = load(path)
    numbers = score(stored, validation_pass(stored))
    assert json.dumps(numbers, allow_nan=False) == json.dumps(score(load(path), validation_pass(load(path))))
    assert numbers["intervals"]["ap50"]["value"] == pytest.approx(numbers["ap50"])
    assert (numbers["n_units"], numbers["unit"]) == (8, "patient")
    assert numbers["healthy"]["n_frames"] == numbers["n_healthy"]
    assert numbers["sensitivity"]["n_lesions"] == numbers["n_boxes"]


def test_the_threshold_comes_from_validation_and_never_from_test(tmp_path):
    test, validation = results(0), results(1)
    path = write_pass(tmp_path, "test", test)
    alone = score(load(path), None)
    assert (alone["best_threshold"], alone["sweep"]["setting"]) == (DEFAULT_THRESHOLD, None)
    write_pass(tmp_path, "val", results(5), weights="other", name="last")
    assert validation_pass(load(path)) is None  # of other weights
    write_pass(tmp_path, "val", validation)
    numbers = score(load(path), validation_pass(load(path)))
    assert numbers["best_threshold"] == pytest.approx(best_f1(validation, 0.5).threshold)
    assert numbers["best_threshold"] != pytest.approx(best_f1(test, 0.5).threshold)
    assert (numbers["threshold_origin"], numbers["threshold_is_own"]) == ("best F1 on validation frames", False)
    assert numbers["sweep"]["chosen_on"] == "set_val"
    assert len(numbers["sweep"]["rows"]) == 20
    own = load(tmp_path / "predictions_best_set_val.jsonl")
    assert score(own, validation_pass(own))["threshold_is_own"]


def test_rescoring_keeps_what_only_the_model_gives_and_notes_the_scoring(tmp_path):
    path = write_pass(tmp_path, "test", results(0))
    evaluation_path(path).write_text(
        json.dumps(
            {"weights_sha256": "w", "metrics": {"gflops": 8.2, "ap50": -1}, "config": {"a": 1}, "notes": ["mine"]}
        )
    )
    report, record_file = rescore(path)
    record = json.loads(record_file.read_text())
    assert (record["metrics"]["gflops"], record["config"]) == (8.2, {"a": 1})
    assert record["metrics"]["ap50"] >= 0
    assert "scored once" in report
    assert "a note" in report
    assert "mine" in report
    assert "scored 2 times, with one set of weights" in rescore(path)[0]
    assert "scored" not in rescore(write_pass(tmp_path, "val", results(1)))[0]


@pytest.mark.parametrize(
    "frames", [[], [frame_result()], [frame_result([(0, 0, 9, 9, 0)])], [frame_result(found=[(0, 0, 9, 9, 0, 0.9)])]]
)
def test_no_truth_no_predictions_or_neither_give_no_nan(tmp_path, frames):
    path = write_pass(tmp_path, "val", frames)
    stored = load(path)
    json.dumps(score(stored, stored), allow_nan=False)
    report, _ = rescore(path)
    assert "nan" not in report.lower()


def test_the_command_scores_a_folder_or_a_file(tmp_path, capsys):
    write_pass(tmp_path, "val", results(1))
    main([str(tmp_path)])
    assert "best.pt on set_val" in capsys.readouterr().out
    assert find_predictions(tmp_path / "predictions_best_set_val.jsonl")
    with pytest.raises(InputError, match=r"holds no predictions_\*.jsonl"):
        main([str(tmp_path / "nowhere")])


def test_validation_frames_that_are_scored_themselves_choose_no_threshold(tmp_path):
    path = write_pass(tmp_path, "test", results(0))
    write_pass(tmp_path, "val", results(0)[:5])
    assert validation_pass(load(path)) is None
    write_pass(tmp_path, "val", results(1), split=2)
    assert validation_pass(load(path)) is None  # of a split the weights were not trained on
    write_pass(tmp_path, "val", results(1))
    assert validation_pass(load(path)) is not None
    scoring = load(path).about["scoring"]
    write_pass(tmp_path, "val", results(1), scoring=scoring | {"eval": scoring["eval"] | {"nms_iou": 0.3}})
    assert validation_pass(load(path)) is None  # detections kept by another rule


def test_another_data_set_may_use_the_names_of_the_validation_frames_and_patients(tmp_path):
    write_pass(tmp_path, "val", results(1))
    alike = [
        replace(other, stem=own.stem, patient_id=own.patient_id, group=own.group)
        for own, other in zip(results(1), results(0), strict=True)
    ]
    external = write_pass(tmp_path, "ext", alike, label="ext")
    assert score(load(external), validation_pass(load(external)))["threshold_origin"] == "best F1 on validation frames"
    assert validation_pass(load(write_pass(tmp_path, "test", alike))) is None
    the_very_frames = write_pass(tmp_path, "ext", results(1)[:9], label="ext")
    assert validation_pass(load(the_very_frames)) is None

    elsewhere = write_pass(tmp_path, "test", alike, label="other_split1_test")
    write_pass(tmp_path, "val", results(1), label="set_split1_val")
    assert validation_pass(load(elsewhere)) is not None


def test_notes_of_an_earlier_scoring_do_not_stay(tmp_path):
    path = write_pass(tmp_path, "test", results(0))
    whole = path.read_text()
    path.write_text(whole[:-20])
    assert "1 frames are missing for it" in rescore(path)[0]
    path.write_text(whole)
    report, record_file = rescore(path)
    assert "torn" not in report
    assert "missing for it" not in record_file.read_text()


def test_validation_frames_without_a_hit_are_said_to_be_so(tmp_path):
    write_pass(tmp_path, "val", [frame_result([(0, 0, 9, 9, 0)], [(50, 50, 90, 90, 0, 0.4)])])
    path = write_pass(tmp_path, "test", results(0))
    numbers = score(load(path), validation_pass(load(path)))
    assert numbers["sweep"]["setting"] is None
    assert numbers["threshold_origin"] == "best F1 on validation frames, where nothing was hit: F1 0"


def test_numbers_of_other_weights_are_not_taken_over(tmp_path):
    path = write_pass(tmp_path, "val", results(0))
    evaluation_path(path).write_text(json.dumps({"weights_sha256": "other", "metrics": {"fps": 99.0}}))
    assert "fps" not in json.loads(rescore(path)[1].read_text())["metrics"]


def test_a_moved_runs_scorings_go_into_the_ledger_above_it(tmp_path):
    run = tmp_path / "moved" / "runs" / "one"
    run.mkdir(parents=True)
    path = write_pass(run, "test", results(0), results_dir=str(tmp_path / "gone"))
    rescore(path)
    rescore(path)
    assert len((tmp_path / "moved" / "test_ledger.jsonl").read_text().splitlines()) == 2
    assert not (tmp_path / "gone").exists()
