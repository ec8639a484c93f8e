"""SRE-YOLO's time beside its detector's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import PreparedSet

from evaluation.cost import LEAST_PAIRS, TimeRatio, median_interval, time_beside_detector
from models.sre_yolo import SREYOLO


def test_both_are_timed_and_the_model_is_left_as_it_was(tiny_prepared: PreparedSet):
    model = SREYOLO(tiny_prepared.config)
    model.train()
    found = time_beside_detector(model, torch.rand(1, 3, 64, 64), n_pairs=8, n_warmup=1)
    assert found.n_pairs == 8
    assert 0 < found.low <= found.ratio <= found.high
    assert model.training


def test_a_slower_pass_is_seen(tiny_prepared: PreparedSet, monkeypatch: pytest.MonkeyPatch):
    model = SREYOLO(tiny_prepared.config)
    detect, ticks = model.backbone.detect, itertools.count()
    late = 0.0

    def slow(images: torch.Tensor) -> torch.Tensor:
        nonlocal late
        late += 0.5
        return detect(images)

    monkeypatch.setattr(model.backbone, "detect", slow)
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks) + late)  # a clock of its own: not a timed test
    found = time_beside_detector(model, torch.rand(1, 3, 64, 64), n_pairs=LEAST_PAIRS, n_warmup=1)
    assert (found.ratio, found.low, found.high, found.equal) == (1.5, 1.5, 1.5, False)
    assert "a DIFFERENCE" in found.sentence()


def test_time_is_limited_but_not_below_the_least_pairs(tiny_prepared: PreparedSet):
    found = time_beside_detector(SREYOLO(tiny_prepared.config), torch.rand(1, 3, 64, 64), 1000, 0, max_seconds=0)
    assert found.n_pairs == LEAST_PAIRS


def test_too_few_pairs_are_refused(tiny_prepared: PreparedSet):
    with pytest.raises(ValueError, match="n_pairs = 5: at least 6"):
        time_beside_detector(SREYOLO(tiny_prepared.config), torch.rand(1, 3, 64, 64), n_pairs=5)


def test_the_interval_of_a_median():
    # n = 10: P(X <= 1) = 0.0107 <= 0.025 < P(X <= 2) = 0.0547, so the 2nd smallest and 2nd largest (Conover, table A3).
    assert median_interval(np.arange(10.0)) == (4.5, 1.0, 8.0)
    assert median_interval(np.arange(6.0)) == (2.5, 0.0, 5.0)
    with pytest.raises(ValueError, match="5 values"):
        median_interval(np.arange(5.0))


def test_the_interval_covers_the_median_of_skewed_values():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        _, low, high = median_interval(rng.exponential(size=40))
        covered += low <= np.log(2) <= high
    assert 940 <= covered <= 985  # at least 95 %, and not by being wide: P = 0.962 for n = 40


def test_words():
    assert "no difference is seen" in TimeRatio(1.001, 0.99, 1.01, 10, 5, 5).sentence()
    assert not TimeRatio(1.02, 1.01, 1.03, 10, 5, 5).equal
