"""Box arithmetic against hand-computed truths, round trips and a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from data_utils.records import area_xyxy, clip_xyxy, cxcywhn_to_xyxy, iou_xyxy, scale_xyxy, xyxy_to_cxcywhn

SIDES = st.integers(1, 10_000)
GRID_BOX = st.tuples(*[st.integers(0, 20)] * 4)  # inverted ones too
NONE = np.zeros((0, 4))
EVERY_FUNCTION = [
    lambda boxes: cxcywhn_to_xyxy(boxes, 640, 480),
    lambda boxes: xyxy_to_cxcywhn(boxes, 640, 480),
    lambda boxes: scale_xyxy(boxes, (640, 480), (320, 320)),
    lambda boxes: clip_xyxy(boxes, 640, 480),
    area_xyxy,
    lambda boxes: iou_xyxy(boxes, boxes),
]


@st.composite
def pixel_boxes(draw: st.DrawFn, width: int, height: int) -> np.ndarray:
    """Up to eight boxes with both corners inside a `width` x `height` image, [N, 4]."""
    count = draw(st.integers(0, 8))
    corners = draw(arrays(np.float64, (count, 2, 2), elements=st.floats(0, 1)))
    return np.sort(corners, axis=1).reshape(-1, 4) * [width, height, width, height]


def test_centre_boxes_become_corners_by_hand():
    boxes = cxcywhn_to_xyxy(np.array([[0.5, 0.25, 0.25, 0.5], [0.1, 0.9, 0.2, 0.2]]), 640, 480)
    assert_allclose(boxes, [[240, 0, 400, 240], [0, 384, 128, 480]])


def test_corners_become_centre_boxes_by_hand():
    assert_allclose(xyxy_to_cxcywhn(np.array([[240.0, 0, 400, 240]]), 640, 480), [[0.5, 0.25, 0.25, 0.5]])


@given(st.data(), SIDES, SIDES)
def test_corners_survive_the_round_trip(data, width, height):
    boxes = data.draw(pixel_boxes(width, height))
    back = cxcywhn_to_xyxy(xyxy_to_cxcywhn(boxes, width, height), width, height)
    assert_allclose(back, boxes, atol=1e-9 * max(width, height))


@given(st.data(), SIDES, SIDES, SIDES, SIDES)
def test_normalised_boxes_ignore_a_plain_resize(data, width, height, new_width, new_height):
    boxes = data.draw(pixel_boxes(width, height))
    resized = scale_xyxy(boxes, (width, height), (new_width, new_height))
    before, after = xyxy_to_cxcywhn(boxes, width, height), xyxy_to_cxcywhn(resized, new_width, new_height)
    assert_allclose(after, before, atol=1e-9)


def test_scaling_treats_width_and_height_apart():
    assert_allclose(scale_xyxy(np.array([[10, 20, 30, 40]]), (100, 200), (200, 100)), [[20, 10, 60, 20]])


def test_clipping_moves_corners_onto_the_edge_only():
    boxes = np.array([[-5.0, -1, 700, 481], [1, 2, 3, 4], [650, 490, 700, 500]])
    assert_array_equal(clip_xyxy(boxes, 640, 480), [[0, 0, 640, 480], [1, 2, 3, 4], [640, 480, 640, 480]])


def test_areas_by_hand():
    boxes = np.array([[0, 0, 32, 32], [5, 5, 5, 9], [10, 10, 4, 20], [10, 10, 4, 4]])
    assert_array_equal(area_xyxy(boxes), [1024, 0, 0, 0])  # an inverted box must not get its area back by two minuses


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 50 / 150),
        ((0, 0, 10, 10), (5, 5, 15, 15), 25 / 175),
        ((0, 0, 10, 10), (2, 2, 7, 4), 10 / 100),  # one inside the other
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),  # a shared edge is no overlap
        ((0, 0, 10, 10), (50, 50, 60, 60), 0.0),
        ((0, 0, 10, 10), (3, 3, 3, 3), 0.0),  # a point
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),  # defined, not 0/0
        ((10, 10, 0, 0), (0, 0, 10, 10), 0.0),  # inverted
    ],
)
def test_iou_by_hand(a, b, expected):
    assert_allclose(iou_xyxy(np.array([a]), np.array([b])), [[expected]], rtol=1e-12)


@given(st.data())
def test_iou_is_symmetric_bounded_and_one_only_with_itself(data):
    a, b = data.draw(pixel_boxes(640, 480)), data.draw(pixel_boxes(640, 480))
    iou = iou_xyxy(a, b)
    assert iou.shape == (len(a), len(b))
    assert ((iou >= 0) & (iou <= 1 + 1e-12)).all()
    assert_array_equal(iou, iou_xyxy(b, a).T)
    solid = a[area_xyxy(a) > 1e-6]
    assert_allclose(np.diag(iou_xyxy(solid, solid)), 1.0)


@given(st.lists(GRID_BOX, max_size=6), st.lists(GRID_BOX, max_size=6))
def test_iou_equals_counting_pixels(first, second):
    a, b = (np.array(boxes, dtype=float).reshape(-1, 4) for boxes in (first, second))

    def mask(box):
        painted = np.zeros((20, 20), dtype=bool)
        x1, y1, x2, y2 = box.astype(int)
        painted[y1:y2, x1:x2] = True
        return painted

    counted = np.zeros((len(a), len(b)))
    for i, box in enumerate(a):
        for j, other in enumerate(b):
            union = (mask(box) | mask(other)).sum()
            counted[i, j] = (mask(box) & mask(other)).sum() / union if union else 0
    assert_allclose(iou_xyxy(a, b), counted)


@pytest.mark.parametrize("function", EVERY_FUNCTION)
@pytest.mark.parametrize("empty", [NONE, np.zeros(0), []], ids=["0x4", "0", "list"])
def test_no_boxes_give_no_boxes(function, empty):
    result = function(empty)
    assert len(result) == 0
    assert result.dtype == np.float64


def test_iou_with_one_side_empty():
    assert iou_xyxy(NONE, np.ones((3, 4))).shape == (0, 3)
    assert iou_xyxy(np.ones((3, 4)), NONE).shape == (3, 0)


@pytest.mark.parametrize("function", EVERY_FUNCTION)
def test_the_input_is_left_as_it_is(function):
    boxes = np.array([[-10.0, 5, 700, 500], [1, 2, 3, 4]])
    boxes.flags.writeable = False
    kept = boxes.copy()
    function(boxes)
    assert_array_equal(boxes, kept)


def test_float32_and_integer_boxes_are_computed_in_float64():
    for dtype in (np.float32, np.int32):
        boxes = np.array([[0, 0, 3, 3]], dtype=dtype)
        assert xyxy_to_cxcywhn(boxes, 7, 7).dtype == np.float64
        assert_allclose(xyxy_to_cxcywhn(boxes, 7, 7), [[1.5 / 7, 1.5 / 7, 3 / 7, 3 / 7]], rtol=1e-15)
