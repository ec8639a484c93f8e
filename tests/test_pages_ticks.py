"""Axes get round numbers."""

from __future__ import annotations

import pytest

from data_utils.pages import round_steps


@pytest.mark.parametrize(
    ("low", "high", "n", "expected"),
    [(0, 100, 5, [0, 20, 40, 60, 80, 100]), (0, 1, 4, [0, 0.5, 1]), (3, 9, 3, [4, 6, 8]), (7, 7, 5, [7])],
)
def test_round_steps(low, high, n, expected):
    assert round_steps(low, high, n) == expected
