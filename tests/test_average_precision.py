"""AP's three definitions: by hand, against ultralytics, and weights against frames that are really repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import frame_result, random_results

from evaluation.scoring.ap import interpolated_ap, rank_hits, ratio, sampled_envelope, weighted_ap
from evaluation.scoring.matching import Criterion, match_frames

BOX, FAR = (10, 10, 60, 60), (300, 300, 350, 350)
ONE = np.ones((1, 1))


def ranked(results, iou=0.5):
    return rank_hits(match_frames(results, [Criterion(iou)]), 0, 0)


def test_a_step_a_slope_and_an_area():
    # Hit, false alarm, hit of three true boxes: precision 1 up to recall 1/3, 2/3 up to 2/3, then 0.
    found = [(*BOX, 0, 0.9), (600, 0, 630, 30, 0, 0.8), (*FAR, 0, 0.7)]
    hits = ranked([frame_result([(*BOX, 0), (*FAR, 0), (100, 100, 150, 150, 0)], found)])
    assert weighted_ap(hits, ONE, "area")[0] == pytest.approx(1 / 3 + 2 / 9)
    assert weighted_ap(hits, ONE)[0] == pytest.approx((34 + 33 * 2 / 3) / 101)  # recalls 0-0.33, 0.34-0.66
    assert sampled_envelope(hits)[[0, 33, 34, 66, 67]] == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])


def test_undefined_without_truth_and_zero_without_detections():
    nothing, missed = ranked([frame_result(found=[(*BOX, 0, 0.9)])]), ranked([frame_result([(*BOX, 0)])])
    assert np.isnan(weighted_ap(nothing, ONE)).all()
    assert (interpolated_ap(nothing), sampled_envelope(nothing)) == (None, None)
    assert (weighted_ap(missed, ONE)[0], weighted_ap(missed, ONE, "area")[0], interpolated_ap(missed)) == (0, 0, 0)
    assert np.isnan(weighted_ap(ranked([]), ONE)).all()
    assert ratio(np.array([1.0, 1.0]), np.array([2.0, 0.0]))[0] == 0.5


@pytest.mark.parametrize("seed", range(30))
def test_the_interpolated_ap_is_ultralytics(seed):
    from models.backbone import ultralytics_module

    compute_ap = ultralytics_module("utils.metrics").compute_ap
    results = random_results(np.random.default_rng(seed), n_frames=int(seed) % 7 + 1)
    table = match_frames(results, [Criterion(0.5)])
    hits, n_truth = table.hits(0), len(table.truth_frames)
    tp, fp = np.cumsum(hits), np.cumsum(~hits)
    theirs = compute_ap((tp / (n_truth + 1e-16)).tolist(), (tp / (tp + fp)).tolist())[0] if n_truth else None
    assert interpolated_ap(rank_hits(table, 0)) == (None if theirs is None else pytest.approx(theirs, abs=1e-9))


@pytest.mark.parametrize("definition", ["coco", "area"])
def test_a_weight_is_a_repeated_frame(definition):
    rng = np.random.default_rng(3)
    results = random_results(rng, n_frames=12)
    units = np.arange(12) // 2
    hits = rank_hits(match_frames(results, [Criterion()]), 0, None, units)
    weights = rng.integers(0, 4, (20, 6)).astype(float)
    measured = weighted_ap(hits, weights, definition)
    for row, value in zip(weights, measured, strict=True):
        repeated = [r for r, unit in zip(results, units, strict=True) for _ in range(int(row[unit]))]
        copies = [replace(result, stem=f"{index}") for index, result in enumerate(repeated)]
        own = rank_hits(match_frames(copies, [Criterion()]), 0)
        assert value == pytest.approx(weighted_ap(own, ONE, definition)[0], abs=1e-12, nan_ok=True)
