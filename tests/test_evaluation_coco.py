"""AP: hand-computed cases, the undefined ones, and pycocotools as oracle over hundreds of random sets."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import frame_result

from data_utils.records import Detections, FrameResult, count_sizes, cxcywhn_to_xyxy, xyxy_to_cxcywhn
from evaluation.scoring.ap import AREA_RANGES, IOU_THRESHOLDS, average_precision

COCO_RANGES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


def test_perfect_detections_score_one_and_a_frame_without_boxes_changes_nothing():
    hit = frame_result([(10, 10, 60, 60, 0)], [(10, 10, 60, 60, 0, 0.9)])
    result = average_precision([hit, frame_result()], nc=1)
    assert result.ap == pytest.approx(1.0)
    assert result.map50_95 == pytest.approx(1.0)
    assert result.ap_by_size == {"small": None, "medium": pytest.approx(1.0), "large": None}


def test_a_false_positive_above_the_only_hit_halves_the_precision_at_every_recall():
    scored = frame_result([(10, 10, 60, 60, 0)], [(200, 200, 250, 250, 0, 0.9), (10, 10, 60, 60, 0, 0.8)])
    assert average_precision([scored], nc=1).ap == pytest.approx(0.5)


def test_one_of_two_boxes_found_reaches_51_of_101_recall_points():
    scored = frame_result([(10, 10, 60, 60, 0), (200, 200, 250, 250, 0)], [(10, 10, 60, 60, 0, 0.9)])
    assert average_precision([scored], nc=1).ap == pytest.approx(51 / 101)


def test_map_averages_ten_iou_thresholds():
    # 100x100 against 100x72: IoU 0.72 is a hit at 0.50 ... 0.70, five thresholds of ten.
    result = average_precision([frame_result([(0, 0, 100, 100, 0)], [(0, 0, 100, 72, 0, 0.9)])], nc=1)
    assert (result.ap, result.map50_95) == (pytest.approx(1.0), pytest.approx(0.5))


def test_the_iou_of_a_hit_is_a_parameter_and_leaves_map_alone():
    scored = [frame_result([(0, 0, 100, 100, 0)], [(0, 0, 100, 42, 0, 0.9)])]
    assert average_precision(scored, nc=1).ap == pytest.approx(0.0)
    loose = average_precision(scored, nc=1, iou_thresh=0.4)
    assert (loose.ap, loose.map50_95) == (pytest.approx(1.0), pytest.approx(0.0))


def test_undefined_values_are_none_and_truth_without_detections_scores_zero():
    only_found = average_precision([frame_result(found=[(0, 0, 9, 9, 0, 0.9)])], nc=1)
    neither = average_precision([frame_result()], nc=1)
    for result in (only_found, neither, average_precision([], nc=1)):
        assert (result.ap, result.map50_95, result.ap_by_class) == (None, None, [None])
        assert result.ap_by_size == {"small": None, "medium": None, "large": None}
        assert result.curve_by_class == [None]
    missed = average_precision([frame_result([(0, 0, 9, 9, 1)])], nc=3)
    assert (missed.ap, missed.map50_95, missed.ap_by_class) == (0.0, 0.0, [None, 0.0, None])
    assert missed.ap_by_size == {"small": 0.0, "medium": None, "large": None}
    assert missed.n_boxes_by_class == [0, 1, 0]


def test_the_mean_is_over_the_classes_that_have_truth():
    truth = [(10, 10, 60, 60, 0), (200, 200, 250, 250, 2)]
    scored = frame_result(truth, [(10, 10, 60, 60, 0, 0.9), (0, 0, 9, 9, 1, 0.9)])
    result = average_precision([scored], nc=3)
    assert result.ap_by_class == [pytest.approx(1.0), None, 0.0]
    assert result.ap == pytest.approx(0.5)


@pytest.mark.parametrize(("side", "bucket"), [(31.9, "small"), (32, "medium"), (95.9, "medium"), (96, "large")])
def test_every_box_is_in_exactly_one_bucket(side, bucket):
    result = average_precision([frame_result([(0, 0, side, side, 0)])], nc=1)
    assert result.n_boxes_by_size == {name: int(name == bucket) for name in AREA_RANGES}


def test_buckets_count_in_original_or_in_input_pixels():
    # 60x60 in a 640x480 frame is 30x40 = 1200 square pixels in a 320x320 input, and 15x20 in a 160x160 one.
    truth, found = [(0, 0, 60, 60, 0)], [(0, 0, 60, 60, 0, 0.9)]
    at_320, at_160 = frame_result(truth, found), frame_result(truth, found, model_input=(160, 160))
    assert average_precision([at_160], nc=1).n_boxes_by_size["medium"] == 1
    assert average_precision([at_320], nc=1, size_reference="input").n_boxes_by_size["medium"] == 1
    in_input = average_precision([at_160], nc=1, size_reference="input")
    assert in_input.ap_by_size == {"small": pytest.approx(1.0), "medium": None, "large": None}
    assert in_input.size_reference == "input"


def test_a_class_outside_the_list_is_refused():
    with pytest.raises(ValueError, match="class ids"):
        average_precision([frame_result([(0, 0, 9, 9, 2)])], nc=2)


def test_nothing_is_printed(capfd):
    average_precision([frame_result([(0, 0, 9, 9, 0)], [(0, 0, 9, 9, 0, 0.9)])], nc=1)
    assert capfd.readouterr() == ("", "")


def random_set(rng: np.random.Generator, crowded: bool) -> tuple[list[FrameResult], int]:
    """A few frames with jittered hits, misses, strays, doubles, tied scores and whole pixels in half the sets."""
    nc, whole = int(rng.integers(1, 4)), rng.random() < 0.5
    results = []
    for _ in range(1 if crowded else int(rng.integers(1, 7))):
        count = int(rng.integers(101, 160)) if crowded else int(rng.integers(0, 6))
        corners = rng.uniform(0, 300, (count, 2))
        sizes = rng.choice([8, 30, 32, 34, 90, 96, 150], (count, 2)) * rng.uniform(0.9, 1.1)
        boxes = np.concatenate([corners, corners + sizes], axis=1)
        boxes = np.round(boxes) if whole else boxes
        class_ids = rng.integers(0, nc, count)
        seen = rng.random(count) < 0.8
        jitter = rng.normal(0, rng.choice([0.5, 4]), (int(seen.sum()), 4))
        near = boxes[seen] + (np.round(jitter) if whole else jitter)
        doubled = np.concatenate([near, near[: rng.integers(0, 4)] + 1, rng.uniform(0, 300, (3, 4))])
        doubled[:, 2:] = np.maximum(doubled[:, 2:], doubled[:, :2] + 2)
        ids = np.concatenate([class_ids[seen], rng.integers(0, nc, len(doubled) - int(seen.sum()))])
        scores = np.round(rng.random(len(doubled)), 1 if rng.random() < 0.5 else 6)  # one digit: many ties
        drop = rng.random() < 0.1
        detections = Detections.empty() if drop else Detections(doubled, scores, ids)
        n_crowds = 0 if crowded else int(rng.integers(0, 3))
        crowds = rng.uniform(0, 250, (n_crowds, 4))
        crowds[:, 2:] += crowds[:, :2] + 20
        results.append(
            FrameResult("f", detections, boxes, class_ids, (640, 640), (320, 320), crowd_xyxy=crowds,
                        crowd_class_ids=rng.integers(0, nc, n_crowds))
        )  # fmt: skip
    return results, nc


def pycocotools_measures(results, nc, max_det, ranges):
    """Precision [T, R, nc, 1 + ranges] and recall [T, nc] from the reference implementation, fed by files' content."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = [], []
    for image_id, result in enumerate(results, start=1):
        for (x1, y1, x2, y2), k in zip(result.truth_xyxy.tolist(), result.truth_class_ids.tolist(), strict=True):
            box = {"id": len(truth) + 1, "image_id": image_id, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            truth.append(box | {"area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
        for (x1, y1, x2, y2), k in zip(result.crowd_xyxy.tolist(), result.crowd_class_ids.tolist(), strict=True):
            box = {"id": len(truth) + 1, "image_id": image_id, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            truth.append(box | {"area": (x2 - x1) * (y2 - y1), "iscrowd": 1})
        found_boxes = result.detections.boxes_xyxy.astype(np.float64)  # differences are taken in double precision
        rows = zip(found_boxes.tolist(), result.detections.class_ids.tolist(), result.detections.scores, strict=True)
        for (x1, y1, x2, y2), k, score in rows:
            box = {"image_id": image_id, "category_id": k + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            found.append(box | {"score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth = COCO()
        coco_truth.dataset = json.loads(json.dumps({
            "info": {},
            "images": [{"id": i + 1} for i in range(len(results))],
            "categories": [{"id": k + 1} for k in range(nc)],
            "annotations": truth,
        }))
        coco_truth.createIndex()
        evaluation = COCOeval(coco_truth, coco_truth.loadRes(found) if found else COCO(), "bbox")
        evaluation.params.maxDets = [max_det]
        evaluation.params.areaRng = [[0, 1e10], *map(list, ranges.values())]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., 0], evaluation.eval["recall"][:, :, 0, 0]


def mean_or_none(precision):
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


def test_equal_to_pycocotools_on_hundreds_of_random_sets():
    rng = np.random.default_rng(0)
    seen = {"boxes": 0, "empty": 0, "undefined": 0, "crowded": 0, "crowds": 0}
    for case in range(400):
        crowded = case % 40 == 0
        results, nc = random_set(rng, crowded)
        max_det = 100 if crowded else int(rng.choice([2, 300]))
        ranges = COCO_RANGES if case % 2 else dict(AREA_RANGES)
        expected, recall = pycocotools_measures(results, nc, max_det, ranges)
        ours = average_precision(results, nc, max_det=max_det, area_ranges=ranges)
        values = [ours.ap, ours.map50_95, ours.recall_at[max_det], *ours.ap_by_size.values(), *ours.ap_by_class]
        wanted = [mean_or_none(expected[0, :, :, 0]), mean_or_none(expected[..., 0]), mean_or_none(recall)]
        wanted += [mean_or_none(expected[0, :, :, 1 + a]) for a in range(3)]
        wanted += [mean_or_none(expected[0, :, k, 0]) for k in range(nc)]
        for got, want in zip(values, wanted, strict=True):
            assert (got is None) == (want is None), f"case {case}"
            assert got is None or abs(got - want) < 1e-6, f"case {case}: {values} against {wanted}"
        seen["boxes"] += sum(len(r.truth_xyxy) for r in results)
        seen["empty"] += sum(not len(r.truth_xyxy) for r in results)
        seen["crowds"] += sum(len(r.crowd_xyxy) for r in results)
        seen["undefined"] += values.count(None)
        seen["crowded"] += max(len(r.truth_xyxy) for r in results) > 100
    assert min(seen.values()) >= 8, f"the cases do not cover what they claim to: {seen}"
    assert len(IOU_THRESHOLDS) == 10


def test_a_detection_in_a_crowd_is_neither_hit_nor_false_alarm():
    """In AP, at a threshold, in FROC, in the confusion matrix and on healthy frames alike."""
    from data_utils.config.sections import EvalSection
    from evaluation.scoring.clinical import froc, healthy_view
    from evaluation.scoring.operating_points import at_threshold, best_f1, confusion_matrix, healthy_frames
    from evaluation.statistics.headline import Scoring

    boxes = [(10, 10, 60, 60, 0, 0.5), (210, 210, 240, 240, 0, 0.9), (215, 215, 235, 235, 0, 0.8)]
    truth = frame_result([(10, 10, 60, 60, 0)], boxes)
    in_crowd = replace(truth, crowd_xyxy=np.array([[200.0, 200, 250, 250]]), crowd_class_ids=np.array([0]))
    only_crowd = replace(in_crowd, truth_xyxy=np.zeros((0, 4)), truth_class_ids=np.zeros(0, dtype=np.int64))
    assert average_precision([truth], nc=1).ap == pytest.approx(1 / 3)
    assert average_precision([in_crowd], nc=1).ap == pytest.approx(1.0)
    assert (at_threshold([in_crowd], 0.5, 0.1).fp, best_f1([in_crowd], 0.5).f1) == (0, 1.0)
    assert confusion_matrix([in_crowd], 1, 0.5, 0.1).tolist() == [[1, 0], [0, 0]]
    scoring = Scoring(("lesion",), 0.5, 0.001, 320, EvalSection())
    assert all(view["sensitivity"]["all"]["1/8"] == 1.0 for view in froc([in_crowd], scoring).values())
    assert healthy_frames([only_crowd], 0.1) == (0, 0)
    assert healthy_view([only_crowd], scoring, 0.1)["n_frames"] == 0
    other_class = replace(in_crowd, crowd_class_ids=np.array([1]))
    assert average_precision([other_class], nc=2).ap_by_class[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("width", "height"), [(1350, 1080), (1920, 1080), (640, 480), (333, 777), (97, 101)])
@pytest.mark.parametrize("digits", [6, 10, 17])
@pytest.mark.parametrize(("side", "bucket"), [(32, "medium"), (96, "large"), (31.9, "small"), (95.9, "medium")])
def test_a_box_of_a_cut_offs_size_is_in_one_bucket_in_both_places(width, height, digits, side, bucket):
    """However its label file rounds: preparing counts it as evaluation does."""
    corners = np.array([[0.0, 0, side, side]]) + min(1.0, (min(width, height) - side) / 2)
    written = np.round(xyxy_to_cxcywhn(corners, width, height), digits)
    counted = dict(zip(("small", "medium", "large"), count_sizes(written, width, height), strict=True))
    truth = frame_result([(*cxcywhn_to_xyxy(written, width, height)[0], 0)])
    by_size = average_precision([truth], nc=1).n_boxes_by_size
    assert counted == by_size == {"small": 0, "medium": 0, "large": 0, bucket: 1}
