"""The assembled numbers: hand-computed values, undefined ones, and that all of them survive JSON."""

from __future__ import annotations

import json

import pytest
import torch
from evaluation_samples import batch, fake_detector, frame_result, small_config

from data_utils.config.loading import load_config
from evaluation import metrics as module
from evaluation.image_quality import ReconstructionQuality
from evaluation.metrics import (
    LOGGED,
    compute_ap50,
    compute_ap50_by_size,
    detection_metrics,
    evaluate_full,
    logged_metrics,
    measure_gflops,
)
from evaluation.passes.predict import predict
from evaluation.report.text import format_report
from evaluation.statistics.headline import Scoring
from models.sre_yolo import SREYOLO

SMALL, MEDIUM = (10, 10, 40, 30), (100, 100, 160, 160)


def test_the_guides_names_can_be_imported():
    names = ("compute_ap50", "compute_ap50_by_size", "measure_fps", "measure_gflops", "evaluate_full")
    assert all(callable(getattr(module, name)) for name in names)


def test_gflops_are_of_the_graph_with_batch_norm_folded_in_and_the_published_ones_count_it():
    thop = pytest.importorskip("thop")  # with which ultralytics prints the 8.2

    config = load_config("configs/train.yaml", ["sr_decoder=none", "pretrain=null"])
    model = SREYOLO(config).eval()
    assert measure_gflops(model, 640) == pytest.approx(8.08, abs=0.005)
    image = torch.zeros(1, 3, 640, 640)
    macs, _ = thop.profile(model.backbone.detector, inputs=(image,), verbose=False)
    assert 2 * macs / 1e9 == pytest.approx(8.19, abs=0.005)
    fused = SREYOLO(config).eval().backbone.detector.fuse(verbose=False)
    macs, _ = thop.profile(fused, inputs=(image,), verbose=False)
    assert 2 * macs / 1e9 == pytest.approx(8.08, abs=0.005)


def test_ap50_and_its_sizes():
    results = [frame_result([(*SMALL, 0), (*MEDIUM, 0)], [(*MEDIUM, 0, 0.9)])]
    assert compute_ap50(results) == pytest.approx(51 / 101)
    assert compute_ap50_by_size(results) == {"small": 0.0, "medium": pytest.approx(1.0), "large": None}
    # In the 320x320 input of a 640x480 frame the medium box is 30x40, the small one 15x13.
    assert compute_ap50_by_size(results, size_reference="input")["medium"] == pytest.approx(1.0)
    assert compute_ap50([]) is None


def test_the_numbers_of_a_small_set():
    results = [
        frame_result([(*SMALL, 0), (*MEDIUM, 1)], [(*MEDIUM, 1, 0.9), (*SMALL, 1, 0.8)]),
        frame_result(found=[(*SMALL, 0, 0.85)]),
        frame_result(),
    ]
    numbers = detection_metrics(results, Scoring.of(small_config()))
    # Kept best: the 0.9 hit alone, F1 = 2 / (1 + 2).
    assert (numbers["precision"], numbers["recall"], numbers["f1"]) == (1.0, 0.5, pytest.approx(2 / 3))
    assert (numbers["tp"], numbers["fp"], numbers["fn"]) == (1, 0, 1)
    assert numbers["best_threshold"] == pytest.approx(0.875)
    assert numbers["ap50"] == pytest.approx(0.5)
    assert (numbers["n_frames"], numbers["n_boxes"], numbers["n_healthy"], numbers["n_healthy_alarmed"]) == (3, 2, 2, 0)
    assert [row["ap50"] for row in numbers["per_class"]] == [0.0, pytest.approx(1.0)]
    assert numbers["per_class"][1]["f1"] == 1.0
    assert numbers["confusion"] == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert numbers["confusion_labels"] == ["lesion", "polyp", "background"]
    assert numbers["size_reference"] == "original"
    assert set(numbers["pr_curves"]["precision"]) == {"lesion", "polyp"}


@pytest.mark.parametrize(
    ("results", "defined"),
    [
        ([], False),
        ([frame_result()], False),
        ([frame_result(found=[(*SMALL, 0, 0.9)])], False),
        ([frame_result([(*SMALL, 0)])], True),
        ([frame_result([(*SMALL, 0)], [(*MEDIUM, 1, 0.9)])], True),
    ],
)
def test_without_truth_nothing_is_defined_and_without_hits_it_is_zero(results, defined):
    numbers = detection_metrics(results, Scoring.of(small_config()))
    expected = 0.0 if defined else None
    for name in ("ap50", "map50_95", "precision", "recall", "f1", "ap50_small"):
        assert numbers[name] == expected, name
    assert numbers["ap50_large"] is None
    assert numbers["per_class"][0]["recall"] == expected
    assert "NaN" not in json.dumps(numbers, allow_nan=False)


def test_the_hits_iou_is_the_configs():
    half = [frame_result([(0, 0, 100, 100, 0)], [(0, 0, 100, 60, 0, 0.9)])]
    assert detection_metrics(half, Scoring.of(small_config()))["ap50"] == pytest.approx(1.0)
    strict = detection_metrics(half, Scoring.of(small_config("iou_thresh=0.7")))
    assert (strict["ap50"], strict["recall"], strict["iou_thresh"]) == (0.0, 0.0, 0.7)


def test_validation_gives_plain_numbers_for_a_log():
    loader = [batch(["a", "b"], [(0, 0, 0.5, 0.5, 0.25, 0.25)], hr=True)]
    model = fake_detector([(48, 48, 24, 24, 0, 0.9)], branch=True)
    config, quality = small_config(), ReconstructionQuality(1, 2)
    results = predict(model, loader, "cpu", config, quality=quality)
    logged = logged_metrics(results, config, None)
    assert set(logged) == {*LOGGED, "ap50[lesion]", "ap50[polyp]"}
    assert logged["ap50"] == logged["ap50[lesion]"] == pytest.approx(1.0)
    assert logged["n_healthy_alarmed"] == 1
    assert logged_metrics(results, config, quality)["psnr"] == pytest.approx(100.0)


def test_everything_is_measured_and_parameters_are_those_of_inference():
    loader = [batch(["a"], [(0, 0, 0.5, 0.5, 0.25, 0.25)], hr=True)]
    model = fake_detector([(48, 48, 24, 24, 0, 0.9)], branch=True)
    model.sr_branch = torch.nn.Linear(4, 4, bias=False)
    numbers = evaluate_full(model, loader, torch.device("cpu"), small_config(), n_warmup=1, n_iters=3)
    assert numbers["ap50"] == pytest.approx(1.0)
    assert numbers["fps"] > 0
    assert numbers["fps_n_iters"] == 3
    assert numbers["gflops"] == 0.0  # the fake neither convolves nor multiplies matrices
    assert (numbers["params"], numbers["params_training"]) == (1 + 6, 1 + 6 + 16)
    assert numbers["n_assumed_size"] == 1
    assert numbers["n_sr_native"] is None
    assert (numbers["fps_batched_size"], numbers["fps_batched_n_iters"]) == (8, 3)
    assert numbers["fps_p5_ms"] <= numbers["fps_median_ms"] <= numbers["fps_p95_ms"]
    assert min(numbers["preprocess_ms"], numbers["postprocess_ms"], numbers["fps_batched"]) > 0
    assert (numbers["gflops_training"], numbers["steps_n_detections"]) == (0.0, 1)
    assert numbers["branch_free"] is False  # the fake's training pass does not use its branch, so nothing is shown
    report = format_report(numbers, "fake")
    for words in ("FPS (batch 8)", "Pre-processing of a frame", "Post-processing of a frame", "NOT SHOWN"):
        assert words in report
    json.dumps(numbers, allow_nan=False)


def test_there_is_no_reconstruction_without_a_branch():
    numbers = evaluate_full(fake_detector([]), [batch(["a"], hr=True)], "cpu", small_config(), n_warmup=0, n_iters=1)
    assert not {"psnr", "ssim", "psnr_bicubic"} & set(numbers)
