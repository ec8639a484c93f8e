"""The shared geometric transform: hand-computed cases, alignment of LR, HR and boxes, and the colour change."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.augment import (
    FILL_GREY,
    ColourJitter,
    GeometricTransform,
    draw_colour,
    draw_transform,
    transform_image,
    transform_labels,
)
from data_utils.config.sections import AugmentSection

SIDE = 64
MARKER = 255  # brighter than the fill grey; everything else in a marked frame is 0
ALWAYS = AugmentSection(flip=0.5, scale=0.4, scale_p=0.7, shift=0.2, shift_p=0.7, mosaic=0.5)
NO_LABELS = np.zeros((0, 5), np.float32)


def drawn(seed: int, chances: AugmentSection = ALWAYS, n_frames: int = 9) -> GeometricTransform:
    return draw_transform(np.random.default_rng(seed), chances, SIDE, n_frames, mosaic=True)


def smooth_hr(seed: int, side: int = 2 * SIDE) -> np.ndarray:
    """A picture without fine detail, so that halving it loses nothing: three slow waves."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, 3)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(2 * np.pi * (x * (k + 1) + y * (2 - k)) + phase) for k, phase in enumerate(phases)]
    return np.rint(127.5 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


def halved(image: np.ndarray) -> np.ndarray:
    side = len(image) // 2
    return image.reshape(side, 2, side, 2, 3).astype(float).mean(axis=(1, 3))


def marked(box_px: tuple[int, int, int, int], factor: int = 1) -> np.ndarray:
    image = np.zeros((factor * SIDE, factor * SIDE, 3), np.uint8)
    x0, y0, x1, y1 = (factor * edge for edge in box_px)
    image[y0:y1, x0:x1] = MARKER
    return image


def label_of(box_px: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box_px
    return np.array([[2, (x0 + x1) / 2 / SIDE, (y0 + y1) / 2 / SIDE, (x1 - x0) / SIDE, (y1 - y0) / SIDE]], np.float32)


def corners_px(labels: np.ndarray) -> np.ndarray:
    return np.concatenate([labels[:, 1:3] - labels[:, 3:] / 2, labels[:, 1:3] + labels[:, 3:] / 2], axis=1) * SIDE


# --- drawing


def test_draw_is_a_function_of_its_seed():
    assert drawn(5) == drawn(5)
    assert len({drawn(seed) for seed in range(20)}) > 15


def test_draw_follows_the_probabilities():
    chances = AugmentSection(flip=0.5, scale=0.2, scale_p=0.25, shift=0.1, shift_p=0.75, mosaic=0.5)
    draws = [drawn(seed, chances) for seed in range(2000)]
    assert np.mean([t.flip for t in draws]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([t.zoom != 1 for t in draws]) == pytest.approx(0.25, abs=0.05)
    assert np.mean([t.shift != (0, 0) for t in draws]) == pytest.approx(0.75, abs=0.05)
    assert np.mean([t.seam is not None for t in draws]) == pytest.approx(0.5, abs=0.05)
    assert min(t.zoom for t in draws) >= 0.8
    assert max(t.zoom for t in draws) <= 1.2
    assert max(abs(by) for t in draws for by in t.shift) == round(0.1 * SIDE)
    seams = np.array([t.seam for t in draws if t.seam])
    assert seams.min() == 0
    assert seams.max() == SIDE
    assert seams.mean() == pytest.approx(SIDE / 2, abs=2)
    assert {index for t in draws for index in t.partners} == set(range(9))


def test_no_mosaic_when_ruled_out_and_the_rest_of_the_draw_stays():
    chances = AugmentSection(mosaic=1.0)
    with_mosaic = draw_transform(np.random.default_rng(1), chances, SIDE, 9, mosaic=True)
    without = draw_transform(np.random.default_rng(1), chances, SIDE, 9, mosaic=False)
    assert with_mosaic.seam is not None
    assert len(with_mosaic.partners) == 3
    assert (without.seam, without.partners) == (None, ())
    assert (without.flip, without.zoom, without.shift) == (with_mosaic.flip, with_mosaic.zoom, with_mosaic.shift)


def test_all_off_is_the_identity():
    off = AugmentSection(flip=0, scale_p=0, shift_p=0, mosaic=0)
    assert all(drawn(seed, off) == GeometricTransform(SIDE) for seed in range(20))


# --- hand-computed cases


def test_identity_changes_nothing_and_copies():
    image, labels = smooth_hr(0, SIDE), label_of((0, 0, 1, 1))  # a box too thin to survive a cut stays here
    out = transform_image(GeometricTransform(SIDE), [image])
    np.testing.assert_array_equal(out, image)
    assert not np.shares_memory(out, image)
    np.testing.assert_array_equal(transform_labels(GeometricTransform(SIDE), [labels], 0.1), labels)


def test_flip_mirrors_image_and_box():
    transform = GeometricTransform(SIDE, flip=True)
    image = smooth_hr(0, SIDE)
    np.testing.assert_array_equal(transform_image(transform, [image]), image[:, ::-1])
    moved = transform_labels(transform, [label_of((4, 8, 20, 40))], 0.1)
    np.testing.assert_allclose(moved, label_of((44, 8, 60, 40)), atol=1e-6)


def test_shift_moves_by_whole_pixels_and_fills_grey():
    transform = GeometricTransform(SIDE, shift=(5, -3))
    image = smooth_hr(0, SIDE)
    out = transform_image(transform, [image])
    np.testing.assert_array_equal(out[: SIDE - 3, 5:], image[3:, : SIDE - 5])
    assert (out[:, :5] == FILL_GREY).all()
    assert (out[SIDE - 3 :] == FILL_GREY).all()
    moved = transform_labels(transform, [label_of((10, 10, 20, 30))], 0.1)
    np.testing.assert_allclose(moved, label_of((15, 7, 25, 27)), atol=1e-6)


def test_zoom_out_by_half_puts_the_frame_in_the_middle():
    transform = GeometricTransform(SIDE, zoom=0.5)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[:, SIDE // 2 :] = 200
    out = transform_image(transform, [image])
    assert (out[16:48, 16:31] == 0).all()
    assert (out[16:48, 33:48] == 200).all()
    assert (out[:16] == FILL_GREY).all()
    assert (out[:, 48:] == FILL_GREY).all()
    moved = transform_labels(transform, [label_of((0, 32, 64, 64))], 0.1)
    np.testing.assert_allclose(moved, label_of((16, 32, 48, 48)), atol=1e-6)


def test_mosaic_shows_the_corner_of_each_frame_that_meets_the_seam():
    transform = GeometricTransform(SIDE, seam=(24, 40), partners=(1, 2, 3))
    frames = [smooth_hr(seed, SIDE) for seed in range(4)]
    out = transform_image(transform, frames)
    np.testing.assert_array_equal(out[:40, :24], frames[0][24:, 40:])
    np.testing.assert_array_equal(out[:40, 24:], frames[1][24:, :40])
    np.testing.assert_array_equal(out[40:, :24], frames[2][:24, 40:])
    np.testing.assert_array_equal(out[40:, 24:], frames[3][:24, :40])


def test_mosaic_moves_cuts_and_drops_boxes():
    transform = GeometricTransform(SIDE, seam=(32, 32), partners=(1, 2, 3))
    labels = [
        np.concatenate([label_of((40, 40, 50, 60)), label_of((0, 0, 20, 20))]),  # wholly seen; not seen at all
        label_of((10, 26, 20, 36)),  # its lower 4 of 10 rows are seen: 40 %
        NO_LABELS,
        label_of((31, 5, 41, 15)),  # one column of ten: thinner than two pixels
    ]
    kept = transform_labels(transform, labels, 0.1)
    expected = np.concatenate([label_of((8, 8, 18, 28)), label_of((42, 0, 52, 4))])
    np.testing.assert_allclose(kept, expected, atol=1e-6)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(transform_labels(transform, labels, 0.5), expected[:1], atol=1e-6)


def test_seam_in_a_corner_shows_one_frame():
    transform = GeometricTransform(SIDE, seam=(0, 0), partners=(1, 2, 3))
    frames = [smooth_hr(seed, SIDE) for seed in range(4)]
    np.testing.assert_array_equal(transform_image(transform, frames), frames[3])
    labels = [label_of((4, 4, 30, 30))] * 4
    np.testing.assert_allclose(transform_labels(transform, labels, 0.1), labels[3], atol=1e-6)


@pytest.mark.parametrize("seed", range(30))
def test_healthy_frames_stay_healthy(seed: int):
    transform = drawn(seed)
    moved = transform_labels(transform, [NO_LABELS] * (1 + len(transform.partners)), 0.1)
    assert moved.shape == (0, 5)
    assert moved.dtype == np.float32


def test_wrong_number_or_size_of_frames_is_refused():
    mosaic = GeometricTransform(SIDE, seam=(3, 3), partners=(1, 2, 3))
    with pytest.raises(ValueError, match="needs 4 frames"):
        transform_image(mosaic, [smooth_hr(0)])
    with pytest.raises(ValueError, match="labels of 4 frames"):
        transform_labels(mosaic, [NO_LABELS], 0.1)
    with pytest.raises(ValueError, match="multiples of side 64"):
        transform_image(GeometricTransform(SIDE), [smooth_hr(0, 96)])


# --- alignment


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_transformed_hr_halved_is_the_transformed_lr(seed: int):
    transform = drawn(seed)
    hr_frames = [smooth_hr(seed + k) for k in range(1 + len(transform.partners))]
    lr_frames = [np.rint(halved(frame)).astype(np.uint8) for frame in hr_frames]
    difference = np.abs(halved(transform_image(transform, hr_frames)) - transform_image(transform, lr_frames))
    # An HR frame misplaced by half an LR pixel gives means above 1.1 and maxima above 10.
    assert difference.mean() < 0.8
    assert difference.max() < 6


@given(
    seed=st.integers(0, 2**32),
    x=st.integers(0, SIDE - 6), y=st.integers(0, SIDE - 6), w=st.integers(6, SIDE), h=st.integers(6, SIDE),
    tile=st.integers(0, 3), factor=st.sampled_from([1, 2]),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_marker_and_its_box_move_together(seed: int, x: int, y: int, w: int, h: int, tile: int, factor: int):
    transform = drawn(seed)
    box = (x, y, min(x + w, SIDE), min(y + h, SIDE))
    n_frames = 1 + len(transform.partners)
    holder = tile % n_frames
    frames = [marked(box, factor) if k == holder else np.zeros_like(marked(box, factor)) for k in range(n_frames)]
    labels = [label_of(box) if k == holder else NO_LABELS for k in range(n_frames)]
    min_visible = 0.1
    moved = transform_labels(transform, labels, min_visible)
    ys, xs = np.nonzero(transform_image(transform, frames)[..., 0] > (MARKER + FILL_GREY) / 2)
    area = (box[2] - box[0]) * (box[3] - box[1]) * transform.zoom**2
    if not len(moved):
        seen_area = len(xs) / factor**2
        thin = len(xs) == 0 or min(np.ptp(xs) + 1, np.ptp(ys) + 1) / factor < 3.5
        assert thin or seen_area < min_visible * area + 1.5 * SIDE / 2
        return
    assert moved[0, 0] == 2
    corners = corners_px(moved)[0]
    assert (corners >= -1e-4).all()
    assert (corners <= SIDE + 1e-4).all()
    assert (corners[2:] - corners[:2] >= 2 - 1e-4).all()
    seen = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / factor
    np.testing.assert_allclose(corners, seen, atol=1.0)


# --- colour


def test_no_colour_change_returns_the_image_itself():
    image = smooth_hr(0, SIDE)
    assert ColourJitter().apply(image) is image
    assert draw_colour(np.random.default_rng(0), AugmentSection(hsv_h=0, hsv_s=0, hsv_v=0)) == ColourJitter()


def test_colour_draw_stays_in_range_and_is_seeded():
    limits = AugmentSection(hsv_h=0.015, hsv_s=0.7, hsv_v=0.4)
    draws = [draw_colour(np.random.default_rng(seed), limits) for seed in range(500)]
    assert draws[7] == draw_colour(np.random.default_rng(7), limits)
    for values, centre, reach in (
        ([d.hue for d in draws], 0, 0.015),
        ([d.saturation for d in draws], 1, 0.7),
        ([d.value for d in draws], 1, 0.4),
    ):
        assert centre - reach <= min(values) < centre - 0.9 * reach
        assert centre + 0.9 * reach < max(values) <= centre + reach


@pytest.mark.parametrize("colour", [(200, 40, 60), (30, 160, 90), (20, 50, 220), (128, 128, 128), (250, 3, 4)])
@pytest.mark.parametrize("jitter", [ColourJitter(0.014, 0.5, 0.8), ColourJitter(-0.014, 1.6, 1.3)])
def test_colour_change_agrees_with_the_standard_library(colour: tuple[int, int, int], jitter: ColourJitter):
    image = np.full((4, 4, 3), colour, np.uint8)
    before = image.copy()
    out = jitter.apply(image)
    hue, saturation, value = colorsys.rgb_to_hsv(*(np.array(colour) / 255))
    hue = (hue + jitter.hue) % 1
    expected = colorsys.hsv_to_rgb(hue, min(saturation * jitter.saturation, 1), min(value * jitter.value, 1))
    np.testing.assert_allclose(out[0, 0], np.array(expected) * 255, atol=7)  # hue is rounded twice, to 1/256
    np.testing.assert_array_equal(image, before)
    assert out.dtype == np.uint8


@pytest.mark.parametrize("geometry", [
    GeometricTransform(SIDE), GeometricTransform(SIDE, flip=True), GeometricTransform(SIDE, flip=True, shift=(9, -20)),
    GeometricTransform(SIDE, zoom=0.7, shift=(9, -20)),
])  # fmt: skip
def test_colour_changes_the_frame_and_leaves_the_fill_grey(geometry: GeometricTransform):
    image, colour = smooth_hr(0, SIDE), ColourJitter(0.01, 0.6, 1.3)
    plain, coloured = (transform_image(geometry, [image], change) for change in (None, colour))
    x0, y0, x1, y1 = geometry.placements()[0].rect
    x0, x1 = (SIDE - x1, SIDE - x0) if geometry.flip else (x0, x1)
    seen = np.zeros((SIDE, SIDE), bool)
    seen[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(coloured[seen], colour.apply(plain)[seen])
    assert (coloured[~seen] == FILL_GREY).all()
    assert not np.array_equal(coloured, plain)
