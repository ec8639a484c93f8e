"""What is drawn, where, and in which colour."""

from __future__ import annotations

import numpy as np
import pytest

from data_utils.records import Detections
from deployment.outputs import draw_detections, draw_fps

GREEN, YELLOW = (0, 255, 0), (0, 255, 255)
SIZES = [(640, 480), (1920, 1080), (96, 96)]


def grey_frame(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def is_colour(frame: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (frame == colour).all(axis=2)


def test_box_lies_on_its_edges_two_pixels_wide_at_640():
    frame = grey_frame(640, 480)
    draw_detections(frame, Detections([[100, 200, 300, 400]], [0.87], [0]), ["lesion"])
    green = is_colour(frame, GREEN)
    for y, x in ((300, 100), (300, 300), (200, 250), (400, 250)):
        assert green[y, x]
    assert 2 <= green[300, 90:110].sum() <= 3
    assert not green[210:390, 110:290].any()
    assert (frame[300, 200] == 128).all()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_found_leaves_the_frame_as_it_is(width: int, height: int):
    frame = grey_frame(width, height)
    draw_detections(frame, Detections.empty(), ["lesion"])
    assert (frame == 128).all()


def test_lines_grow_with_the_frame():
    widths = []
    for scale in (1, 3):
        frame = grey_frame(640 * scale, 480 * scale)
        draw_detections(frame, Detections(np.array([[100, 200, 300, 400]]) * scale, [0.87], [0]), ["lesion"])
        widths.append(is_colour(frame, GREEN)[300 * scale, : 200 * scale].sum())
    assert widths[1] >= 2 * widths[0]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(
    "place", [(0.3, 0.4, 0.6, 0.7), (0, 0, 0.2, 0.2), (0.9, 0, 1, 1), (0, 0, 1, 1), (0.95, 0.95, 1, 1)]
)
def test_label_stays_readable_inside_the_frame(width: int, height: int, place: tuple[float, ...]):
    frame = grey_frame(width, height)
    draw_detections(frame, Detections(np.array([place]) * [width, height, width, height], [0.87], [0]), ["lesion"])
    dark = (frame < 60).all(axis=2)
    ys, xs = np.nonzero(dark)
    assert len(ys)  # black letters
    letters_height = ys.max() - ys.min() + 1
    assert letters_height >= max(7, 0.012 * max(width, height))
    # The letters lie on the green bar, and none is cut off at the frame's edge.
    bar = is_colour(frame, GREEN)[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert bar.mean() > 0.3
    assert ys.min() > 0
    assert xs.min() > 0
    assert ys.max() < height - 1
    assert xs.max() < width - 1


def test_labels_name_class_and_score():
    frames = []
    for score, name in ((0.87, "lesion"), (0.88, "lesion"), (0.87, "polyp")):
        frame = grey_frame(320, 240)
        draw_detections(frame, Detections([[100, 100, 200, 200]], [score], [1]), ["other", name])
        frames.append(frame)
    assert (frames[0] != frames[1]).any()
    assert (frames[0] != frames[2]).any()


def test_fps_is_yellow_on_a_dark_bar_in_the_corner():
    frame = np.full((480, 640, 3), 255, np.uint8)
    draw_fps(frame, 41.26)
    yellow = is_colour(frame, YELLOW)
    assert yellow.any()
    assert not yellow[60:].any()
    assert not yellow[:, 200:].any()
    assert (frame[0, 0] == 0).all()
