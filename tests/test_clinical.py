"""The clinical view: counts by hand, each with the numbers it rests on, and nothing broken where there is nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import frame_result, random_results, small_config

from evaluation.scoring import clinical
from evaluation.statistics.headline import Scoring

SMALL, LARGE, FAR = (10, 10, 30, 30), (100, 100, 260, 260), (500, 300, 550, 350)


def scoring(**section) -> Scoring:
    return Scoring.of(small_config(*(f"eval.{key}={value}" for key, value in section.items())))


@pytest.fixture
def results():
    frames = [
        frame_result([(*SMALL, 0), (*LARGE, 1)], [(*LARGE, 1, 0.9), (*FAR, 0, 0.6)], stem="a"),
        frame_result([(*LARGE, 0)], [(*LARGE, 0, 0.3)], stem="b"),
        frame_result(found=[(*FAR, 1, 0.8)], stem="c"),
        frame_result(stem="d"),
    ]
    about = (("p", "X", "WL"), ("p", "Y", "NBI"), ("q", "X", "WL"), ("r", "Y", "WL"))
    return [replace(r, patient_id=p, group=p, source=s, modality=m) for r, (p, s, m) in zip(frames, about, strict=True)]


def test_lesions_and_patients(results):
    view = clinical.sensitivity_view(results, scoring(), 0.5)
    assert (view["n_lesions"], view["n_lesions_found"], view["per_lesion"]) == (3, 1, pytest.approx(1 / 3))
    assert (view["n_patients"], view["n_patients_found"], view["per_patient"]) == (1, 1, 1.0)
    assert clinical.sensitivity_view(results, scoring(), 0.2)["n_lesions_found"] == 2


def test_healthy_frames(results):
    view = clinical.healthy_view(results, scoring(), 0.5)
    assert view == {"n_frames": 2, "n_false_alarms": 1, "fp_per_frame": 0.5, "clean_share": 0.5}
    assert clinical.healthy_view(results[:2], scoring(), 0.5)["clean_share"] is None


def test_each_row_of_the_breakdown_has_its_n(results):
    rows = {(row["by"], row["name"]): row for row in clinical.breakdown(results, scoring(), 0.5)}
    assert set(rows) == {("source", "X"), ("source", "Y"), ("modality", "WL"), ("modality", "NBI"), ("size", "small"),
                         ("size", "medium"), ("size", "large"), ("class", "lesion"), ("class", "polyp")}  # fmt: skip
    x = rows["source", "X"]
    assert (x["n_frames"], x["n_patients"], x["n_lesions"], x["sensitivity"], x["fp_per_frame"]) == (2, 2, 2, 0.5, 1.0)
    assert x["ap50"] == pytest.approx(0.5)
    assert (rows["size", "large"]["n_lesions"], rows["size", "large"]["sensitivity"]) == (2, 0.5)
    assert (rows["size", "medium"]["n_lesions"], rows["size", "medium"]["sensitivity"]) == (0, None)
    assert (rows["class", "polyp"]["n_frames"], rows["class", "polyp"]["n_patients"]) == (1, 1)


def test_froc_overall_and_by_size_under_three_meanings_of_a_hit(results):
    view = clinical.froc(results, scoring())
    assert set(view) == {"iou50", "iou30", "centre"}
    rows = view["iou50"]["sensitivity"]
    # False alarms 0.8 and 0.6 rank between the hits 0.9 and 0.3; four frames.
    assert (rows["all"]["1/8"], rows["all"]["1/2"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (rows["large"]["n_lesions"], rows["large"]["1/8"]) == (2, 1.0)  # false alarms of medium size do not count
    assert rows["medium"]["1"] is None
    assert rows["small"]["8"] == 0.0


def test_the_size_curve_rises_where_large_lesions_are_found():
    rng = np.random.default_rng(0)
    frames = []
    for index, side in enumerate(np.linspace(10, 200, 60)):
        found = [(0, 0, side, side, 0, 0.9)] if side > 100 else []
        result = frame_result([(0, 0, side, side, 0)], found, stem=f"f{index}")
        frames.append(replace(result, group=f"p{rng.integers(20)}"))
    curve = clinical.size_curve(frames, scoring(resamples=200), 0.5)
    assert curve["sensitivity"][0] < 0.1
    assert curve["sensitivity"][-1] > 0.9
    assert curve["size"] == sorted(curve["size"])
    assert all(
        low <= value <= high for low, value, high in zip(curve["low"], curve["sensitivity"], curve["high"], strict=True)
    )
    assert clinical.size_curve(frames[:4], scoring(), 0.5)["size"] == []


def test_calibration_counts_hits_in_bins_of_the_score(results):
    view = clinical.calibration(results, scoring())
    by_score = {round(row["score"], 1): (row["precision"], row["n"]) for row in view["bins"]}
    assert by_score == {0.3: (1.0, 1), 0.6: (0.0, 1), 0.8: (0.0, 1), 0.9: (1.0, 1)}
    assert view["ece"] == pytest.approx((0.7 + 0.6 + 0.8 + 0.1) / 4)


@pytest.mark.parametrize(
    "frames", [[], [frame_result()], [frame_result([(*SMALL, 0)])], [frame_result(found=[(*FAR, 0, 0.9)])]]
)
def test_where_there_is_nothing_everything_is_still_json_without_nan(frames):
    for view in (clinical.froc, clinical.calibration):
        json.dumps(view(frames, scoring()), allow_nan=False)
    for view in (clinical.healthy_view, clinical.sensitivity_view, clinical.breakdown, clinical.size_curve):
        json.dumps(view(frames, scoring(resamples=20), 0.5), allow_nan=False)


def test_a_random_set_is_consistent():
    frames = random_results(np.random.default_rng(2), n_frames=30, nc=2, n_patients=9)
    rows = clinical.breakdown(frames, scoring(), 0.5)
    n_lesions = sum(len(frame.truth_xyxy) for frame in frames)
    for by in ("source", "modality", "size", "class"):
        assert sum(row["n_lesions"] for row in rows if row["by"] == by) == n_lesions
