"""The simulation of studies: its truth, its table, and a few studies through the real code."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.coverage_study import MEASURES, Study, coverage, run_study, simulate


def test_two_detectors_differ_in_their_draws_and_share_the_truth():
    first, second = simulate(np.random.default_rng(0), 30)
    assert [r.stem for r in first] == [r.stem for r in second]
    assert all((a.truth_xyxy == b.truth_xyxy).all() for a, b in zip(first, second, strict=True))
    assert any(len(a.detections) != len(b.detections) for a, b in zip(first, second, strict=True))
    assert len({r.group for r in first}) == 30


def test_shares_are_counted_over_studies():
    inside, above = (0.4, 0.6), (0.51, 0.6)
    studies = [Study("ap50", inside, above, (0.01, 0.1)), Study("ap50", inside, inside, (-0.1, 0.1)),
               Study("ap50", (math.nan,) * 2, (math.nan,) * 2, (math.nan,) * 2)]  # fmt: skip
    (row, *_) = coverage(studies, dict.fromkeys(MEASURES, 0.5))
    assert (row["percentile_cover"], row["bca_cover"], row["bca_above"], row["bca_below"]) == (1.0, 0.5, 0.5, 0.0)
    assert (row["called_different"], row["studies"]) == (0.5, 2)
    assert row["monte_carlo_se"] == pytest.approx(math.sqrt(0.25 / 2), abs=1e-4)


def test_a_study_goes_through_the_real_code():
    measures = {study.measure: study for study in run_study(0, 20, 40)}
    assert set(measures) == set(MEASURES)
    assert 0 < measures["ap50"].bca[0] < measures["ap50"].bca[1] < 1
