"""The round field of an endoscope is found, and nothing else is taken for its black surround."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from data_utils.imaging.quality import THUMBNAIL_SIDE, field_of, halved, score_frame


def grey_frame(values: np.ndarray) -> np.ndarray:
    """BGR frame uint8 [H, W, 3] whose grey is `values`."""
    return np.repeat(np.asarray(values, np.uint8)[:, :, None], 3, axis=2)


def endoscope_frame(width: int, height: int, radius: int, *, surround: int = 4) -> np.ndarray:
    """A textured disc in the middle of a dark frame, BGR uint8."""
    noise = np.random.default_rng(0).integers(60, 200, (height, width), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    inside = (x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 <= radius**2
    return grey_frame(np.where(inside, noise, surround))


@pytest.mark.parametrize(("width", "height"), [(200, 120), (640, 480), (1921, 1081)])
def test_the_field_of_a_round_frame_is_found(width: int, height: int) -> None:
    radius = height // 3
    scores = score_frame(endoscope_frame(width, height, radius), 0)
    expected = (width / 2 - radius, height / 2 - radius, width / 2 + radius, height / 2 + radius)
    tolerance = 2 * max(1, max(width, height) / 128)  # two pixels of the thumbnail
    assert np.abs(np.array(scores.field_xyxy) - expected).max() <= tolerance
    assert scores.border == pytest.approx(1 - np.pi * radius**2 / (width * height), abs=0.03)


def test_writing_in_the_surround_is_not_the_field() -> None:
    frame = endoscope_frame(640, 480, 150)
    plain = score_frame(frame, 0)
    cv2.putText(frame, "12:30:05", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    assert score_frame(frame, 0).field_xyxy == plain.field_xyxy


@pytest.mark.parametrize("value", [0, 5, 100, 255])
def test_flat_frames_keep_their_whole_field(value: int) -> None:
    scores = score_frame(grey_frame(np.full((50, 70), value)), 0)
    assert scores.field_xyxy == (0, 0, 70, 50)
    assert scores.border == (1.0 if value < 20 else 0.0)


def test_a_dark_middle_is_no_surround() -> None:
    values = np.full((100, 100), 120)
    values[30:70, 30:70] = 0
    scores = score_frame(grey_frame(values), 0)
    assert (scores.border, scores.field_xyxy) == (0.0, (0, 0, 100, 100))


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=600)))
def test_every_frame_has_a_field_inside_it(grey: np.ndarray) -> None:
    scores = score_frame(grey_frame(grey), 0)
    x1, y1, x2, y2 = scores.field_xyxy
    assert 0 <= x1 < x2 <= grey.shape[1]
    assert 0 <= y1 < y2 <= grey.shape[0]
    assert 0 <= scores.border <= 1


@given(npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=3000))
def test_halving_ends_below_the_limit_and_keeps_the_mean(shape: tuple[int, int]) -> None:
    thumbnail = halved(np.full(shape, 77, np.uint8))
    assert 1 <= min(thumbnail.shape) <= max(thumbnail.shape) <= THUMBNAIL_SIDE
    assert (thumbnail == 77).all()


def test_the_predictors_field_is_the_one_that_was_scored() -> None:
    frame = endoscope_frame(640, 480, 150)
    assert field_of(frame) == score_frame(frame, 0).field_xyxy
