"""One pass over a loader: boxes in original pixels, sizes from the manifest, model modes, reduced precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from evaluation_samples import SIDE, batch, fake_detector, small_config
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.manifest import ManifestRow
from evaluation.image_quality import ReconstructionQuality
from evaluation.passes.predict import ASSUMED_SIZE, NON_FINITE, as_float, predict


def row(stem, width, height, patient="p1"):
    return ManifestRow(stem, f"{stem}.png", patient, patient, "made", "WL", width, height, "native", 1, "0" * 32)


def test_boxes_are_mapped_to_pixels_of_the_original_frame():
    model = fake_detector([(48, 48, 24, 24, 0, 0.9), (20, 10, 8, 8, 1, 0.5)])
    labels = [(1, 0, 0.5, 0.5, 0.25, 0.25)]
    loader = [batch(["a", "b"], labels), batch(["c"])]
    sizes = {"a": row("a", 960, 96), "b": row("b", 192, 384, "p2"), "c": row("c", 96, 96)}
    a, b, c = predict(model, loader, "cpu", small_config(), sizes)
    assert (a.stem, b.stem, c.stem, b.patient_id) == ("a", "b", "c", "p2")
    # 36..60 of 96 input pixels: times 10 and 1 in a 960x96 frame, times 2 and 4 in a 192x384 one.
    np.testing.assert_allclose(a.detections.boxes_xyxy, [[360, 36, 600, 60], [160, 6, 240, 14]])
    np.testing.assert_allclose(b.detections.boxes_xyxy[0], [72, 144, 120, 240])
    assert b.detections.class_ids.tolist() == [0, 1]
    assert b.detections.scores.tolist() == pytest.approx([0.9, 0.5])
    np.testing.assert_allclose(b.truth_xyxy, [[72, 144, 120, 240]])
    assert b.truth_class_ids.tolist() == [0]
    assert (len(a.truth_xyxy), len(c.truth_xyxy)) == (0, 0)
    assert (b.original_size, b.input_size, b.extra) == ((192, 384), (SIDE, SIDE), {})


def test_a_frame_without_manifest_entry_counts_in_hr_pixels_and_says_so():
    (result,) = predict(fake_detector([(48, 48, 24, 24, 0, 0.9)]), [batch(["a"])], "cpu", small_config())
    np.testing.assert_allclose(result.detections.boxes_xyxy, [[72, 72, 120, 120]])
    assert result.extra == {ASSUMED_SIZE: f"{2 * SIDE}x{2 * SIDE}"}


def test_settings_of_the_config_hold():
    overlapping = [(48, 48, 20, 20, 0, 0.9), (49, 48, 20, 20, 0, 0.8), (20, 20, 9, 9, 0, 0.3), (70, 70, 9, 9, 1, 0.01)]
    found = [
        predict(fake_detector(overlapping), [batch(["a"])], "cpu", small_config(*overrides))[0].detections.scores
        for overrides in ((), ("eval.nms_iou=0.95",), ("conf_thresh=0.5",), ("eval.max_det=1",))
    ]
    expected = [[0.9, 0.3, 0.01], [0.9, 0.8, 0.3, 0.01], [0.9], [0.9]]
    assert [scores.tolist() for scores in found] == [pytest.approx(scores) for scores in expected]


def test_no_detections_and_outputs_that_are_not_finite():
    (nothing,) = predict(fake_detector([]), [batch(["a"])], "cpu", small_config())
    assert len(nothing.detections) == 0
    model = fake_detector([(48, 48, 24, 24, 0, 0.9), (math.nan, 48, 24, 24, 0, 0.8)])
    (broken,) = predict(model, [batch(["a"])], "cpu", small_config())
    assert broken.detections.scores.tolist() == pytest.approx([0.9])
    assert NON_FINITE in broken.extra


def test_the_pass_runs_in_eval_mode_and_every_part_gets_its_mode_back():
    model = fake_detector([])
    model.train()
    model.frozen.eval()
    predict(model, [batch(["a"])], "cpu", small_config())
    assert model.modes == [False]
    assert (model.training, model.frozen.training) == (True, False)


def test_integer_images_become_floats_on_the_way():
    image = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    assert as_float(image, torch.device("cpu")).flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert as_float(torch.tensor([0.25]), torch.device("cpu")).tolist() == [0.25]


def test_reconstruction_is_measured_on_chosen_frames_only_where_there_are_branch_and_target():
    loader = [batch(["a", "b"], hr=True), batch(["c"], hr=True)]
    quality = ReconstructionQuality(limit=2, n_total=3)
    predict(fake_detector([], branch=True), loader, "cpu", small_config(), quality=quality)
    assert quality.stems == ["a", "c"]
    assert quality.means()["psnr"] == pytest.approx(100.0)  # black on black
    for model, frames in ((fake_detector([]), loader), (fake_detector([], branch=True), [batch(["a"])])):
        unused = ReconstructionQuality(limit=2, n_total=3)
        predict(model, frames, "cpu", small_config(), quality=unused)
        assert unused.stems == []


@pytest.mark.integration
def test_the_real_model_finds_the_same_boxes_in_bf16(tmp_path):
    from models.checkpoint import load_model

    model, config, _ = load_model(write_tiny_checkpoint(tmp_path / "tiny.pt"))
    side = 320  # large enough that coordinates rounded to bf16 would be off by up to 2 px
    frames = batch(["a", "b"], side=side, hr=True)
    frames["lr_image"] = torch.rand(frames["lr_image"].shape, generator=torch.Generator().manual_seed(0))
    every_anchor = config.eval.model_copy(update={"nms_iou": 1.0, "max_det": 5000})
    config = config.model_copy(update={"conf_thresh": 0.0, "eval": every_anchor})
    sizes = {stem: row(stem, side, side) for stem in "ab"}
    quality = ReconstructionQuality(limit=2, n_total=2)
    # bf16 first: the head keeps the anchor grid of its first pass.
    reduced = predict(model, [frames], "cpu", config, sizes, precision="bf16")
    exact = predict(model, [frames], "cpu", config, sizes, quality=quality)
    assert quality.means()["psnr"] is not None
    for left, right in zip(reduced, exact, strict=True):
        assert len(right.detections) > 100
        off = np.abs(left.detections.boxes_xyxy[:, None] - right.detections.boxes_xyxy[None]).max(axis=2).min(axis=1)
        assert off.max() < 1.0
