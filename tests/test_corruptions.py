"""Corrupted frames: the same bytes each time, worse with each severity, and what each kind claims to do."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from data_utils.errors import InputError
from data_utils.imaging.corruptions import CORRUPTIONS, PARAMETERS, SEVERITIES, UNDER_EV, corrupt

STEMS = [f"frame_{index}" for index in range(4)]


def picture(seed=0, side=96):
    """Smooth structure with an edge, off grey, neither black nor white."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 190, (8, 8, 3), dtype=np.uint8)
    image = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    image[side // 4 : side // 2, side // 4 : side // 2] = (200, 90, 80)
    return image


def effect(kind, severity):
    """Mean absolute change over several frames."""
    images = [picture(seed) for seed in range(len(STEMS))]
    pairs = zip(images, STEMS, strict=True)
    return np.mean([np.abs(corrupt(i, kind, severity, stem).astype(int) - i).mean() for i, stem in pairs])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_severity_changes_more_than_the_one_below(kind):
    effects = [effect(kind, severity) for severity in (0, *SEVERITIES)]
    assert effects[0] == 0
    assert all(worse > better + 0.1 for better, worse in itertools.pairwise(effects)), effects


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_bytes_follow_from_stem_kind_and_severity_and_the_frame_is_not_touched(kind):
    image = picture(side=64)[:48]  # not square
    before = image.copy()
    once, again = corrupt(image, kind, 3, "a"), corrupt(image, kind, 3, "a")
    assert (once.dtype, once.shape) == (np.uint8, image.shape)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(image, before)
    clean = corrupt(image, kind, 0, "a")
    np.testing.assert_array_equal(clean, image)
    assert not np.shares_memory(clean, image)


@pytest.mark.parametrize("kind", ["glare", "noise"])
def test_what_is_random_differs_from_frame_to_frame(kind):
    assert (corrupt(picture(), kind, 3, "a") != corrupt(picture(), kind, 3, "b")).any()


def test_every_kind_has_its_parameters_on_record():
    assert list(PARAMETERS) == list(CORRUPTIONS)


def test_a_stop_less_light_halves_linear_light():
    grey = np.full((2, 2, 3), 128, dtype=np.uint8)
    # sRGB: 128 is 0.2159 of full light; half of it, 0.1079, is shown as 0.3622 of 255.
    assert UNDER_EV[1] == 1.0
    assert corrupt(grey, "under_exposure", 2, "a")[0, 0].tolist() == [92, 92, 92]
    assert corrupt(grey, "over_exposure", 3, "a")[0, 0].tolist() == [176, 176, 176]  # 0.4317 is shown as 0.6885
    assert corrupt(np.full((2, 2, 3), 255, np.uint8), "over_exposure", 5, "a").min() == 255


def test_a_point_out_of_focus_becomes_a_disc_of_the_same_light():
    image = np.zeros((200, 200, 3), dtype=np.uint8)
    image[100, 100] = 250
    seen = corrupt(image, "blur", 5, "a")[..., 0].astype(float)  # radius 0.03 * 200 = 6 px
    lit = np.argwhere(seen > 0) - 100
    assert np.hypot(*lit.T).max() <= 6.6
    assert len(lit) == pytest.approx(np.pi * 36, rel=0.12)
    assert seen.sum() == pytest.approx(250, rel=0.2)  # rounding to bytes


def test_noise_grows_with_the_signal_and_keeps_its_mean():
    levels = [np.full((128, 128, 3), level, dtype=np.uint8) for level in (60, 180)]
    dark, bright = (corrupt(image, "noise", 1, "a").astype(float) for image in levels)
    # Variance 0.04^2 * signal + 0.01^2, of 255.
    for noisy, level in ((dark, 60), (bright, 180)):
        assert noisy.mean() == pytest.approx(level, abs=0.5)
        assert noisy.std() == pytest.approx(255 * np.sqrt(0.04**2 * level / 255 + 0.01**2), rel=0.03)


def test_glare_only_brightens_and_spots_of_a_severity_stay_at_the_next():
    image = picture()
    seen = [corrupt(image, "glare", severity, "a").astype(int) for severity in SEVERITIES]
    assert (seen[0] >= image).all()
    assert (seen[0] == 255).any()
    for fewer, more in itertools.pairwise(seen):
        assert (more >= fewer).all()


def test_a_cast_moves_red_against_blue_and_leaves_green():
    image = picture()
    casts = [corrupt(image, "colour_cast", 4, stem).astype(int) - image for stem in (f"s{i}" for i in range(8))]
    ways = {(int(np.sign(c[..., 0].mean())), int(np.sign(c[..., 2].mean()))) for c in casts}
    assert ways == {(1, -1), (-1, 1)}
    assert all((cast[..., 1] == 0).all() for cast in casts)


def test_unknown_kinds_and_severities_are_named():
    with pytest.raises(InputError, match=r"fog.*blur, glare"):
        corrupt(picture(), "fog", 1, "a")
    with pytest.raises(InputError, match="severity 6"):
        corrupt(picture(), "blur", 6, "a")
    with pytest.raises(ValueError, match="float64"):
        corrupt(picture().astype(float), "blur", 1, "a")  # pyright: ignore[reportArgumentType]
