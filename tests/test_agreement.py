"""Comparing two backends' detections, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from data_utils.records import Detections
from deployment.exporting.checks import compare


def found(*rows: tuple[float, ...]) -> Detections:
    """Rows x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5])


BOX = (10, 10, 50, 50, 0.9, 0)


def test_equal_detections_agree():
    same = compare([found(BOX), found()], [found(BOX), found()], conf=0.25)
    assert (same.n_frames, same.n_reference, same.matched, same.unmatched) == (2, 1, 1, 0)
    assert (same.box_px, same.score) == (0, 0)
    assert same.share == 1
    assert same.holds(0.5, 1e-3)


def test_differences_are_the_largest_ones():
    near = compare([found(BOX)], [found((10.25, 10, 50, 49.5, 0.8996, 0))], conf=0.25)
    assert near.box_px == pytest.approx(0.5)
    assert near.score == pytest.approx(0.0004, abs=1e-6)
    assert near.holds(0.5, 1e-3)
    assert not near.holds(0.4, 1e-3)
    assert not near.holds(0.5, 1e-4)


@pytest.mark.parametrize("other", [found(), found((100, 100, 140, 140, 0.9, 0)), found((10, 10, 50, 50, 0.9, 1))],
                         ids=["nothing", "elsewhere", "another class"])  # fmt: skip
def test_what_has_no_partner_is_no_agreement(other: Detections):
    for pair in (([found(BOX)], [other]), ([other], [found(BOX)])):
        result = compare(*pair, conf=0.25)
        assert result.unmatched == 1 + len(other)
        assert result.share == 0
        assert not result.holds(1e9, 1)


def test_rounding_may_decide_at_the_threshold():
    at_edge = found((10, 10, 50, 50, 0.2505, 0))
    assert compare([at_edge], [found()], conf=0.25).unmatched == 0
    assert compare([at_edge], [found()], conf=0.2).unmatched == 1


def test_nothing_on_either_side_agrees():
    assert compare([found()], [found()], conf=0.25).share == 1
