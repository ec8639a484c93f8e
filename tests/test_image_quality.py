"""PSNR and SSIM against cases computed by hand and against a plain double loop over OpenCV's window."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from evaluation.image_quality import ReconstructionQuality, bicubic_x2, psnr, ssim


def test_psnr_of_a_constant_difference():
    black = torch.zeros(2, 3, 16, 16)
    other = torch.stack([torch.full((3, 16, 16), 0.1), torch.full((3, 16, 16), 0.01)])
    assert psnr(other, black).tolist() == pytest.approx([20.0, 40.0], abs=1e-4)  # 10 log10(1 / 0.1^2)


def test_identical_pictures_read_100_db_and_ssim_1():
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert psnr(image, image).tolist() == pytest.approx([100.0])
    assert ssim(image, image).tolist() == pytest.approx([1.0])


def test_ssim_of_two_flat_pictures_is_its_luminance_term():
    # Without variance the structure term is 1: (2 * 0.2 * 0.6 + C1) / (0.2^2 + 0.6^2 + C1), C1 = 0.01^2.
    flat, other = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    assert ssim(flat, other).item() == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-4)


def test_ssim_equals_the_formula_with_opencvs_gaussian():
    rng = np.random.default_rng(0)
    x, y = rng.random((24, 30)), rng.random((24, 30))

    def blur(image):
        return cv2.GaussianBlur(image, (11, 11), 1.5)[5:-5, 5:-5]  # where the window lies inside

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    expected = ((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean()
    image, target = (torch.from_numpy(a).float().expand(1, 3, -1, -1) for a in (x, y))
    assert ssim(image, target).item() == pytest.approx(expected, abs=1e-5)


def test_ssim_refuses_pictures_smaller_than_its_window():
    with pytest.raises(ValueError, match="at least 11"):
        ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))


def test_the_baseline_is_opencvs_bicubic():
    rng = np.random.default_rng(0)
    image = rng.random((12, 12, 3)).astype(np.float32)
    expected = np.clip(cv2.resize(image, (24, 24), interpolation=cv2.INTER_CUBIC), 0, 1)
    upsampled = bicubic_x2(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    assert upsampled == pytest.approx(expected, abs=1e-5)


def test_frames_are_chosen_evenly():
    quality = ReconstructionQuality(limit=3, n_total=9)
    assert [quality.chosen(first, count) for first, count in ((0, 4), (4, 4), (8, 1))] == [[0, 3], [2], []]
    assert ReconstructionQuality(limit=0, n_total=9).chosen(0, 9) == []
    assert ReconstructionQuality(limit=50, n_total=2).chosen(0, 2) == [0, 1]


def test_means_over_frames_beside_the_baseline():
    quality = ReconstructionQuality(limit=2, n_total=2)
    assert quality.means() == {"psnr": None, "ssim": None, "psnr_bicubic": None, "ssim_bicubic": None}
    grey = torch.full((1, 3, 16, 16), 0.5)
    target = torch.full((1, 3, 32, 32), 0.5)
    quality.update(["a"], grey, target + 0.1, target)
    quality.update(["b"], grey, target + 3.0, target)  # clipped to 1: off by 0.5, 6.02 dB
    assert quality.stems == ["a", "b"]
    means = quality.means()
    assert means["psnr"] == pytest.approx((20 + 6.0206) / 2, abs=1e-3)
    assert means["psnr_bicubic"] == pytest.approx(100.0)


def test_an_output_that_is_not_finite_gives_no_number():
    quality = ReconstructionQuality(limit=1, n_total=1)
    target = torch.full((1, 3, 32, 32), 0.5)
    quality.update(["a"], torch.full((1, 3, 16, 16), 0.5), target * float("nan"), target)
    assert quality.means()["psnr"] is None
    assert quality.means()["psnr_bicubic"] is not None
