"""Views of a frame: tiles cover it in its own proportions, mirrored boxes come back, cut ones are left out."""

from __future__ import annotations

import numpy as np
import pytest
from test_predictor import FakeBackend, raw_of

from data_utils.records import Detections
from models.predictor import Predictor, View, in_frame, views_of


def test_the_frame_alone_unless_more_is_asked_for():
    assert views_of((0, 0, 1920, 1080), 640, tile=False, mirror=False) == [View((0, 0, 1920, 1080))]


@pytest.mark.parametrize(("size", "n_tiles"), [((640, 640), 0), ((600, 400), 0), ((1280, 720), 4), ((1920, 1080), 9)])
def test_tiles_cover_the_frame_and_keep_its_proportions(size: tuple[int, int], n_tiles: int):
    width, height = size
    views = views_of((0, 0, width, height), 640, tile=True, mirror=False)
    assert views[0] == View((0, 0, width, height))
    assert len(views) == 1 + n_tiles
    covered = np.zeros((height, width), int)
    for view in views[1:]:
        x1, y1, x2, y2 = view.region_xyxy
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1) / (y2 - y1) == pytest.approx(width / height, rel=0.01)
        covered[y1:y2, x1:x2] += 1
    assert n_tiles == 0 or covered.min() == 1
    assert n_tiles == 0 or (covered[:, width // 2] > 1).any()  # neighbours overlap


def test_tiles_of_a_cropped_field_stay_in_it():
    views = views_of((100, 50, 1380, 770), 640, tile=True, mirror=True)
    assert len(views) == 10
    assert {view.mirrored for view in views[5:]} == {True}
    assert min(view.region_xyxy[0] for view in views) == 100
    assert max(view.region_xyxy[3] for view in views) == 770


def detections(*boxes: tuple[float, ...]) -> Detections:
    return Detections(np.array(boxes, np.float32), np.linspace(0.9, 0.5, len(boxes)), np.zeros(len(boxes)))


def test_a_mirrored_view_gives_the_same_box():
    moved = in_frame(detections((10, 5, 30, 25)), View((100, 50, 200, 150), mirrored=True), (100, 50, 200, 150))
    assert moved.boxes_xyxy.tolist() == [[170, 55, 190, 75]]


def test_boxes_cut_by_an_inner_edge_are_left_out_those_at_the_frames_edge_stay():
    tile = View((0, 0, 100, 100), whole=False)
    boxes = detections((0, 10, 20, 30), (80, 10, 100, 30), (10, 80, 30, 100), (40, 40, 60, 60))
    kept = in_frame(boxes, tile, (0, 0, 180, 180))
    assert kept.boxes_xyxy.tolist() == [[0, 10, 20, 30], [40, 40, 60, 60]]
    whole = in_frame(boxes, View((0, 0, 100, 100)), (0, 0, 180, 180))
    assert len(whole) == 4


class FindsBright:
    """Answers with a box around the pixels above half brightness, if they are at least 4 input pixels wide."""

    input_size, names, crop_border, parallel = 64, ("lesion",), False, 1

    def __call__(self, images: np.ndarray) -> np.ndarray:
        raw = np.zeros((len(images), 5, 1), np.float32)
        for k, image in enumerate(images):
            rows, columns = np.nonzero(image[0] > 0.5)
            if len(rows) and np.ptp(columns) >= 3:
                low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
                raw[k, :, 0] = [*(low + high) / 2, *(high - low), 0.9]
        return raw


def test_tiling_finds_what_is_too_small_in_the_whole_frame():
    frame = np.zeros((256, 256, 3), np.uint8)
    frame[200:208, 100:108] = 255  # 2 input pixels of the whole frame, 5 of a tile
    assert len(Predictor(FindsBright()).predict(frame)) == 0
    found = Predictor(FindsBright(), tile=True).predict(frame)
    np.testing.assert_allclose(found.boxes_xyxy, [[100, 200, 108, 208]], atol=2)


def test_tiling_gives_each_object_once():
    frame = np.zeros((256, 256, 3), np.uint8)
    frame[110:140, 110:140] = 255  # seen by the whole frame and, in their overlap, by four tiles
    found = Predictor(FindsBright(), tile=True).predict(frame)
    np.testing.assert_allclose(found.boxes_xyxy, [[110, 110, 140, 140]], atol=4)


def test_mirroring_gives_each_object_once():
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[10:30, 5:25] = 255
    found = Predictor(FindsBright(), tta=True).predict(frame)
    assert found.boxes_xyxy.tolist() == [[5, 10, 25, 30]]


def test_views_of_several_frames_do_not_mix():
    frames = [np.zeros((128, 128, 3), np.uint8) for _ in range(3)]
    for k, frame in enumerate(frames):
        frame[20 * k + 10 : 20 * k + 26, 10:30] = 255
    together = Predictor(FindsBright(), tile=True, tta=True).predict_batch(frames)
    alone = [Predictor(FindsBright(), tile=True, tta=True).predict(frame) for frame in frames]
    assert [found.boxes_xyxy.tolist() for found in together] == [found.boxes_xyxy.tolist() for found in alone]
    assert len({str(found.boxes_xyxy.tolist()) for found in together}) == 3


def test_a_frame_with_nan_counts_once_however_often_it_is_looked_at():
    predictor = Predictor(FakeBackend(raw_of((np.nan, 32, 16, 16, 0.9))), tta=True)
    predictor.predict(np.zeros((64, 64, 3), np.uint8))
    assert predictor.nonfinite_frames == 1
