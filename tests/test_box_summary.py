"""The numbers drawn from box sizes, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from data_utils.box_stats.sizes import BoxTable, strides_of, summarise
from data_utils.records import count_sizes


def table(lr: list[tuple[float, float]], classes: list[int] | None = None, scale=(2, 2)) -> BoxTable:
    sizes = np.array(lr, float).reshape(-1, 2)
    return BoxTable(np.array(classes or [0] * len(sizes)), sizes, sizes * scale)


def summary(lr, n_clusters=9, detector="yolov8n", names=("lesion",), **options):
    return summarise(table(lr, **options), names, detector, n_clusters, seed=0)


@pytest.mark.parametrize(("detector", "strides"), [
    ("yolov8n", (8, 16, 32)), ("yolov8s-p2", (4, 8, 16, 32)), ("yolov8n-p6", (8, 16, 32, 64)), ("yolo11n", (8, 16, 32)),
    ("yolov8n-p2-mine", (4, 8, 16, 32)),
])  # fmt: skip
def test_strides_by_name(detector, strides):
    assert strides_of(detector) == strides


def test_nine_clusters_go_by_area_three_to_a_stride():
    squares = [(s, s) for s in (5, 9, 15, 25, 40, 70, 110, 180, 300)]
    clusters = summary(squares)["clusters"]
    assert [c["stride"] for c in clusters["centres"]] == [8] * 3 + [16] * 3 + [32] * 3
    assert [c["level"] for c in clusters["centres"]] == ["P3"] * 3 + ["P4"] * 3 + ["P5"] * 3
    assert [c["width"] for c in clusters["centres"]] == [s for s, _ in squares]
    assert clusters["average_best_iou"] == 1
    assert clusters["grouping"] == "by area, 3 for each stride"
    assert clusters["notes"] == ["YOLOv8 and later have no anchors: the clusters are no setting of the detector. They "
                                 "tell which input side and which strides suit the boxes."]  # fmt: skip


def test_other_numbers_go_to_the_stride_whose_range_holds_them():
    clusters = summary([(20, 20), (63.9, 63.9), (64, 64), (127, 127), (256, 64)], n_clusters=5)["clusters"]
    assert [c["stride"] for c in clusters["centres"]] == [8, 8, 16, 16, 32]
    assert "5 clusters do not divide by 3 strides" in clusters["grouping"]
    assert "end at 64, 128 px" in clusters["grouping"]
    assert [c["level"] for c in summary([(20, 20)] * 3, 4, "yolov8n-p2")["clusters"]["centres"]] == ["P2"]


def test_one_box_is_a_set_of_its_own():
    found = summary([(12, 24)])
    assert [(c["width"], c["height"], c["boxes"], c["share"]) for c in found["clusters"]["centres"]] == [(12, 24, 1, 1)]
    assert found["clusters"]["notes"][1] == "asked for 9 clusters, but there are only 1 different sizes"
    assert found["aspect_ratio"]["lr"] == dict.fromkeys(("p5", "p25", "p50", "p75", "p95"), 0.5)


def test_buckets_ratios_and_classes_by_hand():
    found = summary([(31, 33), (32, 32), (40, 80), (96, 96), (4, 8)], classes=[0, 0, 1, 1, 1], names=("a", "b", "c"),
                    scale=(4, 2))  # fmt: skip
    assert found["sizes"]["lr"] == {"small": 2, "medium": 2, "large": 1}
    # 124x66, 128x64, 160x160, 384x192, 16x16
    assert found["sizes"]["original"] == {"small": 1, "medium": 2, "large": 2}
    assert found["aspect_ratio"]["lr"]["p50"] == round(31 / 33, 3)
    assert found["aspect_ratio"]["original"]["p50"] == round(62 / 33, 3)
    assert found["shorter_side_lr_px"]["p50"] == 32
    assert found["classes"] == {
        "a": {"boxes": 2, "median_width_lr_px": 31.5, "median_height_lr_px": 32.5, "share_below_8px": 0},
        "b": {"boxes": 3, "median_width_lr_px": 40, "median_height_lr_px": 80, "share_below_8px": 0.3333},
        "c": {"boxes": 0},
    }


def test_buckets_are_those_of_the_evaluation():
    sizes = np.random.default_rng(0).uniform(0.01, 0.6, (200, 2))
    boxes = np.concatenate([np.full((200, 2), 0.5), sizes], axis=1)
    assert tuple(summary((sizes * 320).tolist())["sizes"]["lr"].values()) == count_sizes(boxes, 320, 320)


@pytest.mark.parametrize(("thin", "detector", "advisable", "advice"), [
    (1, "yolov8n", False, "yolov8n is fine enough"),  # 10 % is not more than 10 %
    (2, "yolov8n", True, "model.detector=yolov8n-p2, or a larger imgsz_lr"),
    (2, "yolov8s-p6", True, "model.detector=yolov8s-p2, or a larger imgsz_lr"),
    (2, "yolov8n-p2", False, "yolov8n-p2 has a P2 head"),
    (1, "yolov8n-p2", False, "yolov8n-p2 has a P2 head; model.detector=yolov8n is cheaper and does"),
])  # fmt: skip
def test_when_a_p2_head_is_advised(thin, detector, advisable, advice):
    head = summary([(7.9, 50)] * thin + [(8, 50)] * (10 - thin), detector=detector)["p2_head"]
    assert (head["advisable"], head["advice"]) == (advisable, advice)
    assert head["share_below_8px"] == thin / 10
    assert head["share_below_finest_stride"] == (0 if "p2" in detector else thin / 10)
    assert "more than 10% of the boxes" in head["rule"]


def test_no_box_is_refused_and_all_else_is_plain_data():
    with pytest.raises(ValueError, match="0 sizes"):
        summary([])
    found = summary([(10.123, 20), (30, 5)])
    assert yaml.safe_load(yaml.safe_dump(found)) == found == json.loads(json.dumps(found))
