"""The one inference path: NMS against torchvision, geometry by hand, bad values, speed."""

from __future__ import annotations

import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.records import Detections
from models.predictor import Predictor, map_to_frame, postprocess, preprocess


class FakeBackend:
    """Answers every image with the same raw output, and remembers what it was given."""

    def __init__(self, raw: np.ndarray, input_size: int = 64, names: tuple[str, ...] = ("lesion",)) -> None:
        self.raw, self.input_size, self.names = raw, input_size, names
        self.crop_border = False
        self.parallel = 1
        self.seen: list[np.ndarray] = []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.seen.append(images)
        return np.repeat(self.raw[None], len(images), axis=0)


def raw_of(*anchors: tuple[float, ...]) -> np.ndarray:
    """Columns (cx, cy, w, h, score, ...) as a raw output [4+nc, A]."""
    return np.array(anchors, dtype=np.float32).T.reshape(len(anchors[0]), -1)


def random_raw(rng: np.random.Generator, n_anchors: int, n_classes: int, side: int, n_clusters: int) -> np.ndarray:
    """Boxes crowded around a few places, as a detector gives them; scores mostly low."""
    places = rng.uniform(0, side, (n_clusters, 2))[rng.integers(0, n_clusters, n_anchors)]
    centres = (places + rng.normal(0, side / 20, (n_anchors, 2))).T
    return np.concatenate([centres, rng.uniform(side / 16, side / 4, (2, n_anchors)),
                           rng.beta(0.3, 5, (n_classes, n_anchors))]).astype(np.float32)  # fmt: skip


def torchvision_result(raw: np.ndarray, conf: float, iou: float, max_det: int) -> Detections:
    """The oracle: torchvision's NMS, class by class, on the same candidates."""
    import torch
    from torchvision.ops import batched_nms

    tensor = torch.from_numpy(raw).double()
    scores, class_ids = tensor[4:].max(dim=0)
    keep = scores > conf
    boxes, scores, class_ids = tensor[:4, keep].T, scores[keep], class_ids[keep]
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
    order = torch.sort(scores, descending=True, stable=True).indices
    corners, scores, class_ids = corners[order], scores[order], class_ids[order]
    kept = batched_nms(corners, scores, class_ids, iou)[:max_det]
    return Detections(corners[kept].numpy(), scores[kept].numpy(), class_ids[kept].numpy())


def assert_same(ours: Detections, theirs: Detections) -> None:
    assert ours.class_ids.tolist() == theirs.class_ids.tolist()
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-3)


def test_postprocess_by_hand():
    # Boxes 1 and 2 are of one class and overlap with IoU 8*10 / (2*100 - 80) = 2/3; box 3 is of the other class.
    pair = (25, 25, 10, 10, 0.9, 0.1), (27, 25, 10, 10, 0.8, 0)
    raw = raw_of(*pair, (25, 25, 10, 10, 0.2, 0.7), (50, 9, 4, 2, 0.2, 0))
    found = postprocess(raw, conf=0.25, nms_iou=0.6)
    assert found.boxes_xyxy.tolist() == [[20, 20, 30, 30], [20, 20, 30, 30]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])
    assert found.class_ids.tolist() == [0, 1]
    assert len(postprocess(raw, conf=0.25, nms_iou=0.7)) == 3


def test_an_anchor_counts_for_its_best_class_alone():
    found = postprocess(raw_of((25, 25, 10, 10, 0.6, 0.7)), conf=0.1, nms_iou=0.5)
    assert found.class_ids.tolist() == [1]


def test_thresholds_are_strict():
    pair = raw_of((4, 4, 8, 8, 0.75), (6, 4, 4, 8, 0.5))  # IoU exactly 1/2
    assert len(postprocess(pair, conf=0.25, nms_iou=0.5)) == 2
    assert len(postprocess(pair, conf=0.25, nms_iou=0.499)) == 1
    assert len(postprocess(pair, conf=0.5, nms_iou=0.5)) == 1


def test_equal_scores_keep_the_earlier_anchor():
    found = postprocess(raw_of((10, 10, 8, 8, 0.5), (10, 11, 8, 8, 0.5)), conf=0.1, nms_iou=0.5)
    assert found.boxes_xyxy.tolist() == [[6, 6, 14, 14]]


@pytest.mark.parametrize("raw", [np.zeros((5, 0), np.float32), raw_of((9, 9, 4, 4, 0))], ids=["no anchor", "no score"])
def test_nothing_found(raw: np.ndarray):
    assert len(postprocess(raw, 0.001, 0.7)) == 0


@pytest.mark.parametrize(
    "bad",
    [(np.nan, 5, 4, 4, 0.9), (5, 5, np.inf, 4, 0.9), (5, 5, 4, 4, np.nan), (5, 5, 4, 4, np.inf), (5, 5, 0, 4, 0.9)],
    ids=["NaN centre", "infinite width", "NaN score", "infinite score", "empty box"],
)
def test_unusable_anchors_are_left_out(bad: tuple[float, ...]):
    found = postprocess(raw_of(bad, (20, 20, 4, 4, 0.8)), 0.25, 0.5)
    assert found.boxes_xyxy.tolist() == [[18, 18, 22, 22]]


def test_raw_output_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\[4\+nc, A\], got \[1, 5, 8\]"):
        postprocess(np.zeros((1, 5, 8), np.float32), 0.25, 0.5)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("conf", "iou"), [(0.001, 0.7), (0.25, 0.45)])
def test_agrees_with_torchvision_on_crowds(seed: int, conf: float, iou: float):
    rng = np.random.default_rng(seed)
    raw = random_raw(rng, n_anchors=700, n_classes=1 + seed % 3, side=320, n_clusters=2 + 4 * seed)
    assert_same(postprocess(raw, conf, iou), torchvision_result(raw, conf, iou, 300))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2, *[st.integers(0, 4)] * 2), max_size=40),
    st.sampled_from([0.25, 0.5, 0.75]),
    st.integers(1, 10),
)
def test_agrees_with_torchvision_on_ties(anchors: list[tuple[int, ...]], iou: float, max_det: int):
    # Small whole numbers: many equal scores, and IoUs that equal the threshold exactly.
    raw = raw_of(*anchors) if anchors else np.zeros((6, 0), np.float32)
    raw[4:] /= 4
    assert_same(postprocess(raw, 0.2, iou, max_det), torchvision_result(raw, 0.2, iou, max_det))


def test_evaluation_of_many_frames_is_quick():
    rng = np.random.default_rng(0)
    frames = [random_raw(rng, 2100, 3, 320, n_clusters) for n_clusters in (15, 60, 200)] * 29  # 87 frames, as in BCCD
    start = time.process_time()
    for raw in frames:
        postprocess(raw, 0.001, 0.7)
    assert (time.process_time() - start) / len(frames) < 0.010  # measured 1.2 ms; room for a busy machine


def test_preprocess_is_rgb_in_zero_to_one():
    bgr = np.zeros((4, 4, 3), np.uint8)
    bgr[1, 2] = (255, 51, 0)
    image = preprocess(bgr, 4)
    assert image.dtype == np.float32
    assert image.shape == (3, 4, 4)
    np.testing.assert_array_equal(image[:, 1, 2], np.float32([0, 51 / 255, 1]))


def test_preprocess_is_a_plain_bilinear_resize():
    bgr = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    expected = cv2.resize(bgr, (32, 32), interpolation=cv2.INTER_LINEAR)[:, :, ::-1].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(preprocess(bgr, 32), expected, atol=1e-7)


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8),
                                   np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)])  # fmt: skip
def test_preprocess_refuses_other_pictures(frame: np.ndarray):
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        preprocess(frame, 32)


def test_boxes_come_back_in_frame_pixels():
    # On a 64 px input, a frame of 256 x 128: x grows four times, y twice.
    predictor = Predictor(FakeBackend(raw_of((32, 32, 16, 16, 0.9))))
    found = predictor.predict(np.zeros((128, 256, 3), np.uint8))
    assert found.boxes_xyxy.tolist() == [[96, 48, 160, 80]]


def test_boxes_are_clipped_to_the_frame_and_those_outside_it_dropped():
    found = map_to_frame(Detections(np.array([[-8, 8, 8, 80], [65, 0, 70, 9]]), np.array([0.9, 0.8]), np.zeros(2)),
                         (64, 64), (128, 64))  # fmt: skip
    assert found.boxes_xyxy.tolist() == [[0, 8, 16, 64]]


def test_a_batch_of_frames_of_several_sizes_is_one_call():
    backend = FakeBackend(raw_of((32, 32, 64, 64, 0.9)))
    frames = [np.full((height, width, 3), value, np.uint8) for height, width, value in ((10, 20, 0), (64, 64, 255))]
    found = Predictor(backend).predict_batch(frames)
    assert [one.boxes_xyxy.tolist() for one in found] == [[[0, 0, 20, 10]], [[0, 0, 64, 64]]]
    assert [images.shape for images in backend.seen] == [(2, 3, 64, 64)]
    assert backend.seen[0][0].max() == 0
    assert backend.seen[0][1].min() == 1
    assert Predictor(backend).predict_batch([]) == []


def test_frames_with_nan_output_are_counted():
    predictor = Predictor(FakeBackend(raw_of((np.nan, 32, 16, 16, 0.9), (32, 32, 16, 16, 0.8))))
    assert len(predictor.predict(np.zeros((64, 64, 3), np.uint8))) == 1
    assert predictor.nonfinite_frames == 1


@pytest.mark.parametrize("setting", [{"conf": 1.5}, {"iou": -0.1}, {"conf": float("nan")}, {"max_det": 0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]):
    with pytest.raises(InputError, match=next(iter(setting))):
        Predictor(FakeBackend(raw_of((1, 1, 1, 1, 1))), **setting)  # pyright: ignore[reportArgumentType]


def test_importing_the_predictor_does_not_import_torch():
    code = "import sys, models.predictor; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_detector_trained_without_the_surround_is_shown_the_field_alone() -> None:
    frame = np.zeros((100, 140, 3), np.uint8)
    frame[20:80, 40:100] = np.random.default_rng(0).integers(60, 255, (60, 60, 3))
    backend = FakeBackend(raw_of((32.0, 32.0, 16.0, 32.0, 0.9)))
    backend.crop_border = True
    found = Predictor(backend).predict(frame)
    np.testing.assert_array_equal(backend.seen[0][0], preprocess(frame[20:80, 40:100], 64))
    # 24..40 and 16..48 of 64 input pixels are 22.5..37.5 and 15..45 of the field's 60, which begins at (40, 20).
    np.testing.assert_allclose(found.boxes_xyxy, [[62.5, 35, 77.5, 65]])
