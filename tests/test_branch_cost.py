"""The cost table of the SR branch."""

from __future__ import annotations

import pytest

from evaluation.branch_cost import branch_costs

# GMACs of width-64 `deep` branches on a 640 frame, counted with the 1x1 convolutions at the fused size.
REFERENCE_GMACS = {2: 202, 4: 113, 8: 91}


def test_costs_follow_the_geometry() -> None:
    rows = list(branch_costs("configs/train.yaml", 640))
    shape = ("decoder", "upsampler", "width", "fusion_stride")
    cost = {tuple(row[name] for name in shape): row["branch_gflops"] for row in rows}
    assert len(cost) == 12
    for stride, gmacs in REFERENCE_GMACS.items():
        assert cost["deep", "staged", 64, stride] == pytest.approx(2 * gmacs, rel=0.02)
    assert cost["deep", "direct", 32, 8] < cost["deep", "direct", 64, 8] < cost["deep", "staged", 64, 8] / 5
    assert all(row["detector_gflops"] == pytest.approx(8.2, abs=0.5) for row in rows)
