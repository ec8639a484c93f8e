"""Frame scores by hand and against OpenCV's plain formula; reasons for every threshold."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from data_utils.config.sections import FilterSection
from data_utils.imaging.quality import FrameScores, crop_region, rejection_reasons, score_frame

GOOD = FrameScores(
    sharpness=500, brightness=100, saturated=0.01, border=0.1, width=640, height=480, n_bytes=50_000,
    field_xyxy=(0, 0, 640, 480), perceptual_hash="0" * 16,
)  # fmt: skip


def grey_frame(values: np.ndarray) -> np.ndarray:
    """BGR frame uint8 [H, W, 3] whose grey is `values`."""
    return np.repeat(np.asarray(values, np.uint8)[:, :, None], 3, axis=2)


def test_single_bright_pixel_by_hand() -> None:
    values = np.zeros((5, 5))
    values[2, 2] = 10
    scores = score_frame(grey_frame(values), 7)
    # The Laplacian is -40 at the pixel and 10 at its four neighbours: mean 0, variance (1600 + 4 * 100) / 25.
    assert scores.sharpness == pytest.approx(80)
    assert scores.brightness == pytest.approx(10 / 25)
    assert (scores.width, scores.height, scores.n_bytes) == (5, 5, 7)


def test_flat_frame_has_no_sharpness() -> None:
    scores = score_frame(grey_frame(np.full((4, 6), 77)), 0)
    assert scores.sharpness == 0
    assert scores.brightness == 77
    assert scores.saturated == 0
    assert (scores.width, scores.height) == (6, 4)


def test_saturated_share_counts_from_250() -> None:
    assert score_frame(grey_frame(np.array([[249, 250, 255, 0]])), 0).saturated == 0.5


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)))
def test_sharpness_equals_the_float64_formula(grey: np.ndarray) -> None:
    expected = cv2.Laplacian(grey, cv2.CV_64F).var()
    assert score_frame(grey_frame(grey), 0).sharpness == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "kind", "detail"),
    [
        ({"sharpness": 99.5}, "blurred", "Laplacian variance 99.5 < 100"),
        ({"brightness": 29.0}, "dark", "mean grey 29 < 30"),
        ({"brightness": 241.0}, "blown out", "mean grey 241 > 240"),
        ({"n_bytes": 5119}, "tiny", "file bytes 5119 < 5120"),
        ({"height": 199}, "tiny", "shorter side in pixels 199 < 200"),
        ({"saturated": 0.25}, "glare", "share of saturated pixels 0.25 > 0.2"),
        ({"border": 0.75}, "border", "share of black surround 0.75 > 0.7"),
    ],
)
def test_each_threshold_gives_its_reason(changes: dict, kind: str, detail: str) -> None:
    thresholds = FilterSection(min_side=200, border_max=0.7)
    assert rejection_reasons(GOOD, thresholds) == ()
    (reason,) = rejection_reasons(replace(GOOD, **changes), thresholds)
    assert (reason.kind, reason.detail, str(reason)) == (kind, detail, f"{kind}: {detail}")


def test_a_score_equal_to_its_threshold_is_kept() -> None:
    edge = replace(GOOD, sharpness=100, brightness=30, saturated=0.2, width=9, height=8, n_bytes=5120)
    assert rejection_reasons(edge, FilterSection(min_side=8)) == ()
    assert rejection_reasons(replace(edge, brightness=240), FilterSection(min_side=8)) == ()


def test_all_reasons_are_given_in_order() -> None:
    bad = replace(GOOD, sharpness=1, brightness=1, saturated=1, width=2, height=2, n_bytes=3)
    assert [reason.kind for reason in rejection_reasons(bad, FilterSection())] == ["blurred", "dark", "tiny", "glare"]


@given(st.floats(0, 1e6), st.floats(0, 255), st.floats(0, 1), st.floats(0, 1), st.integers(1, 9), st.integers(0, 9))
def test_null_thresholds_keep_everything(
    blur: float, grey: float, glare: float, border: float, side: int, size: int
) -> None:
    off = FilterSection(blur_thresh=None, bright_min=None, bright_max=None, min_bytes=None, glare_max=None)
    scores = replace(GOOD, sharpness=blur, brightness=grey, saturated=glare, border=border, width=side, height=side,
                     n_bytes=size)  # fmt: skip
    assert rejection_reasons(scores, off) == ()


def test_a_crop_never_cuts_a_box() -> None:
    scores = replace(GOOD, width=100, height=200, field_xyxy=(20, 30, 80, 170))
    assert crop_region(scores, np.zeros((0, 4))) == (20, 30, 80, 170)
    assert crop_region(scores, np.array([[0.5, 0.5, 0.1, 0.1]])) == (20, 30, 80, 170)
    # 5..15 pixels across, 190..200 down.
    assert crop_region(scores, np.array([[0.1, 0.975, 0.1, 0.05], [0.5, 0.5, 0.1, 0.1]])) == (5, 30, 80, 200)
