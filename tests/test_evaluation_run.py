"""From a weights file to saved numbers, on a randomly initialised model and a made-up prepared set."""

from __future__ import annotations

import csv
import json

import pytest
from evaluation_samples import write_prepared_set
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.errors import InputError
from evaluation.evaluation_run import evaluate_checkpoint

QUICK = ("run.workers=0", "eval.batch_size=2")


@pytest.mark.integration
def test_numbers_are_printed_and_saved_beside_the_run(tmp_path):
    run = tmp_path / "runs" / "tiny"
    weights = write_tiny_checkpoint(run / "best.pt")
    (run / "log.csv").write_text("epoch\n")
    outcome = evaluate_checkpoint(
        weights, device_name="cpu", overrides=[*write_prepared_set(tmp_path), *QUICK], save_csv=True, fps_iters=3
    )
    names = ["eval_best_lesions_split1_test.json", "eval_best_lesions_split1_test.csv",
             "predictions_best_lesions_split1_test.jsonl", "truth_best_lesions_split1_test.jsonl"]  # fmt: skip
    assert [(path.parent, path.name) for path in outcome.files] == [(run, name) for name in names]
    record = json.loads(outcome.files[0].read_text())
    assert record["metrics"] == outcome.metrics
    assert (record["epoch"], len(record["weights_sha256"])) == (3, 64)
    numbers = outcome.metrics
    assert (numbers["n_frames"], numbers["n_boxes"], numbers["n_healthy"]) == (5, 4, 1)
    # A quarter of 384 x 192 original pixels is 96 x 48, of the 96 px input 24 x 24.
    assert (numbers["n_medium"], numbers["n_small"], numbers["n_assumed_size"]) == (4, 0, 0)
    assert (numbers["n_sr_frames"], numbers["n_sr_native"]) == (5, 5)
    assert 5 < numbers["psnr_bicubic"] < 40
    assert numbers["params"] == pytest.approx(3.01e6, rel=0.01)
    assert numbers["params_training"] > numbers["params"]
    assert "n/a" in outcome.report
    assert "nan" not in outcome.report.lower()
    rows = {(row["metric"], row["class"]): row["value"] for row in csv.DictReader(outcome.files[1].open())}
    assert rows["n_boxes", "polyp"] == "2"
    assert float(rows["gflops", "all"]) == numbers["gflops"]


@pytest.mark.integration
def test_without_a_run_folder_files_go_to_results_and_sizes_to_the_reference_asked_for(tmp_path):
    weights = write_tiny_checkpoint(tmp_path / "loose.pt", decoder="none")
    overrides = [*write_prepared_set(tmp_path), *QUICK, f"run.results_dir={tmp_path / 'results'}"]
    overrides.append("eval.size_reference=input")
    outcome = evaluate_checkpoint(weights, device_name="cpu", overrides=overrides, fps_iters=2)
    assert outcome.files[0] == tmp_path / "results" / "eval_loose_lesions_split1_test.json"
    assert (outcome.metrics["n_medium"], outcome.metrics["n_small"]) == (0, 4)
    assert "psnr" not in outcome.metrics
    assert "96 px input's pixels" in outcome.report


def test_weights_of_other_classes_leave_no_file(tmp_path):
    weights = write_tiny_checkpoint(tmp_path / "two.pt", decoder="none")
    with pytest.raises(InputError, match="trained on 2 classes"):
        evaluate_checkpoint(weights, device_name="cpu", overrides=["dataset.nc=1", "dataset.names=[lesion]"])
    assert [path.name for path in tmp_path.iterdir()] == ["two.pt"]


def test_an_absent_device_is_an_error(tmp_path):
    weights = write_tiny_checkpoint(tmp_path / "two.pt", decoder="none")
    with pytest.raises(InputError, match="cuda:99"):
        evaluate_checkpoint(weights, device_name="cuda:99")
