"""The records that travel between rooms: what they accept, refuse and put right."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data_utils.records import Annotation, Detections, Frame, FrameResult

BOX = [[0.5, 0.5, 0.2, 0.2]]
PIXELS = [[10, 20, 30, 40], [0, 0, 5, 5], [1, 1, 2, 2]]


def test_annotation_takes_lists_and_gives_the_stated_types():
    annotation = Annotation(np.array(BOX, dtype=np.float32), np.array([2.0]))
    assert annotation.boxes_cxcywhn.shape == (1, 4)
    assert (annotation.boxes_cxcywhn.dtype, annotation.class_ids.dtype) == (np.float64, np.int64)
    assert len(annotation) == 1


@pytest.mark.parametrize("empty", [np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5))])
def test_any_empty_array_is_a_healthy_frame(empty):
    annotation = Annotation(empty, np.zeros(0))
    assert annotation.boxes_cxcywhn.shape == (0, 4)
    assert len(annotation) == len(Annotation.empty()) == 0


@pytest.mark.parametrize(
    ("boxes", "class_ids", "message"),
    [
        (BOX, [0, 1], "1 boxes but 2 class ids"),
        (np.zeros((4, 2)), [0, 0], r"shape \[N, 4\], found \[4, 2\]"),  # a reshape would have hidden this
        (np.zeros((1, 5)), [0], r"shape \[N, 4\]"),
        ([[0.5, np.nan, 0.1, 0.1]], [0], "NaN or infinite"),
        ([[0.5, np.inf, 0.1, 0.1]], [0], "NaN or infinite"),
        ([[320, 240, 64, 64]], [0], "pixels"),
        ([[0.5, 0.5, -0.1, 0.1]], [0], r"\[0, 1\]"),
        (BOX, [0.5], "whole numbers"),
        (BOX, [-1], "whole numbers"),
    ],
)
def test_annotation_refuses(boxes, class_ids, message):
    with pytest.raises(ValueError, match=message):
        Annotation(np.array(boxes), np.array(class_ids))


def test_rounding_at_the_edge_is_no_error():
    assert len(Annotation(np.array([[0.5, 0.5, 1 + 1e-7, 1.0]]), np.array([0]))) == 1


def test_detections_come_best_first_and_ties_keep_their_order():
    detections = Detections(np.array(PIXELS), np.array([0.5, 0.9, 0.5]), np.array([0, 1, 2]))
    assert_array_equal(detections.class_ids, [1, 0, 2])
    assert_array_equal(detections.boxes_xyxy, np.array(PIXELS)[[1, 0, 2]])
    assert detections.boxes_xyxy.dtype == detections.scores.dtype == np.float32


def test_a_hundred_ties_keep_their_order():
    scores = np.tile([0.5, 0.25], 50)
    detections = Detections(np.zeros((100, 4)), scores, np.arange(100))
    assert_array_equal(detections.class_ids, [*range(0, 100, 2), *range(1, 100, 2)])


def test_above_is_strict():
    detections = Detections(np.array(PIXELS), np.array([0.25, 0.75, 0.5]), np.array([0, 1, 2]))
    assert_array_equal(detections.above(0.25).scores, [0.75, 0.5])
    assert len(detections.above(1.0)) == 0
    assert len(detections) == 3


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids", "message"),
    [
        (PIXELS, [0.5, 0.5], [0, 0, 0], "3 boxes, 2 scores and 3 class ids"),
        (PIXELS, [0.5, 0.5, 1.5], [0, 0, 0], "scores must lie"),
        (PIXELS, [0.5, 0.5, np.nan], [0, 0, 0], "scores must lie"),
        ([[0, 0, np.inf, 1]], [0.5], [0], "NaN or infinite"),
        (np.zeros((2, 2)), [0.5], [0], "shape"),
    ],
)
def test_detections_refuse(boxes, scores, class_ids, message):
    with pytest.raises(ValueError, match=message):
        Detections(np.array(boxes), np.array(scores), np.array(class_ids))


def test_no_detections():
    empty = Detections.empty()
    assert empty.boxes_xyxy.shape == (0, 4)
    assert len(empty.above(0.0)) == 0


def test_a_frame_takes_its_stem_from_the_file_unless_given():
    frame = Frame(Path("raw/images/p01 03.png"), Annotation.empty(), "p01", "p01")
    assert frame.stem == "p01 03"
    assert Frame(Path("a.png"), Annotation.empty(), "p", "p", stem="other").stem == "other"


@pytest.mark.parametrize(("patient_id", "group"), [("", "g"), ("p", "")])
def test_a_frame_without_owner_is_refused(patient_id, group):
    with pytest.raises(ValueError, match=r"a\.png.*patient and a group"):
        Frame(Path("a.png"), Annotation.empty(), patient_id, group)


def test_records_are_frozen_and_do_not_share_their_extras():
    first, second = (
        FrameResult("a", Detections.empty(), np.zeros((0, 4)), np.zeros(0, dtype=int), (8, 8), (4, 4)) for _ in "ab"
    )
    assert first.extra is not second.extra
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.stem = "b"  # pyright: ignore[reportAttributeAccessIssue]
