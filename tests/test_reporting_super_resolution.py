"""The reconstruction panel: PSNR by hand, the same part of all four pictures, and words where there is nothing."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest
from reported_run import write_panel

from data_utils.errors import InputError
from evaluation.report.pictures import CUT, panel_gallery, psnr


def test_psnr_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black) == 100
    assert psnr(black, black + np.uint8(255)) == pytest.approx(0)
    assert psnr(black, black + np.uint8(1)) == pytest.approx(20 * np.log10(255))


def test_psnr_is_evaluations_own():
    import torch

    from evaluation import image_quality

    a, b = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    tensors = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 for picture in (a, b))
    assert psnr(a, b) == pytest.approx(float(image_quality.psnr(*tensors)), abs=1e-3)


def test_a_panel_names_each_picture_and_its_psnr(tmp_path):
    write_panel(tmp_path / "epoch_012.npz")
    gallery = panel_gallery(tmp_path / "epoch_012.npz")
    assert gallery.heading == "Super-resolution, after epoch 12"
    (shown,) = gallery.shown
    ours = 10 * np.log10(255**2 / 1)  # every pixel differs by 1 from the target
    assert [re.sub(r"bicubic: \d+", "bicubic: N", title) for title in shown.titles] == [
        "input (pixels enlarged): 100.00 dB", shown.titles[1].replace(shown.titles[1].split(".")[0], "bicubic: N"),
        f"ours: {ours:.2f} dB", "target"]  # fmt: skip
    assert len({(picture.width, picture.height) for picture in shown.pictures}) == 1


def test_the_part_shown_is_around_the_largest_true_box(tmp_path):
    side = 2 * CUT
    hr = np.zeros((1, side, side, 3), np.uint8)
    hr[0, -60:-40, -60:-40] = (255, 0, 0)  # RGB: a red square near the lower right corner
    lr = hr[:, ::2, ::2]
    truth = np.array([[[1, 1, 3, 3], [CUT - 30, CUT - 30, CUT - 20, CUT - 20]]], np.float32)
    write_panel(tmp_path / "p.npz", lr=lr, hr=hr, sr=hr, truth_xyxy=truth)
    (shown,) = panel_gallery(tmp_path / "p.npz").shown
    data = np.frombuffer(base64.b64decode(shown.pictures[3].source.split(",")[1]), np.uint8)
    part = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert part.shape == (CUT, CUT, 3)
    red = np.argwhere(part[:, :, 2] > 150)
    assert red.mean(axis=0) == pytest.approx((CUT - 50.5, CUT - 50.5), abs=1)
    assert part[CUT - 50, CUT - 50, 0] < 60  # blue stays out: the channels are in OpenCV's order


@pytest.mark.parametrize("missing", ["sr", "hr"])
def test_without_a_reconstruction_it_says_so(tmp_path, missing):
    write_panel(tmp_path / "p.npz", **{missing: None})
    assert "shows no reconstruction" in panel_gallery(tmp_path / "p.npz")


def test_a_torn_panel_is_refused(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(InputError, match="not a readable panel file"):
        panel_gallery(tmp_path / "p.npz")
