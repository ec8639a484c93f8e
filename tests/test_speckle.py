"""Multiplicative speckle: its distribution, its grains, its range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from data_utils.speckle import add_speckle, frame_rng, speckle_field


def field(looks: float, distribution: str = "gamma", grain: float = 0.0, side: int = 400) -> np.ndarray:
    return speckle_field(side, side, np.random.default_rng(3), looks, distribution, grain)


@pytest.mark.parametrize("distribution", ["gamma", "lognormal"])
@pytest.mark.parametrize("looks", [1.0, 4.5, 16.0])
@pytest.mark.parametrize("grain", [0.0, 1.0])
def test_mean_is_one_and_variance_one_over_looks(distribution: str, looks: float, grain: float) -> None:
    noise = field(looks, distribution, grain)
    assert noise.dtype == np.float32
    assert noise.min() > 0
    assert noise.mean() == pytest.approx(1, abs=0.02)
    assert noise.var() * looks == pytest.approx(1, rel=0.06)


@pytest.mark.parametrize("grain", [0.0, 1.5])
def test_one_look_is_the_exponential_distribution_and_eight_are_gamma(grain: float) -> None:
    # Every 12th pixel: beyond the blur's reach, so that the samples are independent as the test wants them.
    for looks, truth in ((1, stats.expon()), (8, stats.gamma(8, scale=1 / 8))):
        assert stats.kstest(field(looks, grain=grain, side=700)[::12, ::12].ravel(), truth.cdf).pvalue > 0.01
    lognormal = stats.lognorm(s=np.sqrt(np.log(1.25)), scale=np.exp(-np.log(1.25) / 2))
    assert stats.kstest(field(4, "lognormal", grain, side=700)[::12, ::12].ravel(), lognormal.cdf).pvalue > 0.01


def test_grains_correlate_neighbours_as_far_as_the_blur_reaches() -> None:
    def correlation(grain: float, step: int) -> float:
        noise = field(8, grain=grain)
        return float(np.corrcoef(noise[:, step:].ravel(), noise[:, :-step].ravel())[0, 1])

    assert abs(correlation(0, 1)) < 0.01
    # White noise blurred by a Gaussian of sigma s is correlated as exp(-d^2 / 4 s^2); gamma of 8 looks is near normal.
    assert correlation(1.5, 1) == pytest.approx(np.exp(-1 / 9), abs=0.03)
    assert correlation(1.5, 3) == pytest.approx(np.exp(-1), abs=0.04)
    assert abs(correlation(1.5, 11)) < 0.03


def test_noise_near_the_border_is_like_elsewhere() -> None:
    edges = np.concatenate([speckle_field(4, 4, np.random.default_rng(k), 4, grain=2.0).ravel() for k in range(3000)])
    assert edges.var() * 4 == pytest.approx(1, rel=0.08)


def test_the_picture_is_multiplied_and_the_three_channels_alike() -> None:
    grey = np.full((64, 64, 3), 0.25, np.float32) * np.array([1, 0.5, 2], np.float32)
    noisy = add_speckle(grey, np.random.default_rng(0), 9)
    noise = speckle_field(64, 64, np.random.default_rng(0), 9)
    assert np.allclose(noisy, np.minimum(grey * noise[..., None], 1))
    assert noisy[..., 0].std() > 0.05
    plane = add_speckle(grey[..., 0], np.random.default_rng(0), 9)
    assert np.array_equal(plane, noisy[..., 0])


def test_black_stays_black_and_white_is_clipped() -> None:
    black = add_speckle(np.zeros((8, 8, 3), np.uint8), np.random.default_rng(0), 1)
    white = add_speckle(np.full((50, 50, 3), 255, np.uint8), np.random.default_rng(0), 1)
    assert black.dtype == white.dtype == np.uint8
    assert not black.any()
    share_at_white = (white == 255).mean()
    assert share_at_white == pytest.approx(np.exp(-1), abs=0.04)  # of exponential noise, what lies above its mean


def test_eight_bit_values_are_rounded() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    noise = speckle_field(16, 16, np.random.default_rng(5), 30)
    expected = np.rint((image * noise).clip(0, 255))
    assert np.array_equal(add_speckle(image, np.random.default_rng(5), 30), expected)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 200), st.floats(0, 3), st.sampled_from(["gamma", "lognormal"]))
def test_any_setting_gives_finite_positive_noise_that_its_seed_repeats(
    seed: int, looks: float, grain: float, distribution: str
) -> None:
    first, again = (speckle_field(5, 9, np.random.default_rng(seed), looks, distribution, grain) for _ in range(2))
    assert first.shape == (5, 9)
    assert np.isfinite(first).all()
    assert (first >= 0).all()
    assert np.array_equal(first, again)


def test_a_frame_has_noise_of_its_own() -> None:
    draws = [frame_rng(seed, stem).random() for seed, stem in ((1, "a"), (1, "a"), (1, "b"), (2, "a"))]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="known are gamma and lognormal"):
        field(4, "rayleigh")
    for looks in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            field(looks)
