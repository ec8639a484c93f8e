"""The timing command on a set small enough for a test: both sides agree, and the table has what the README quotes."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation import coverage_study, scoring_speed
from evaluation.scoring_speed import draw, time_ap, time_bootstrap


def test_both_sides_give_the_same_ap():
    numbers = time_ap(draw(np.random.default_rng(0), 30, 8, 2, 30), 2, rounds=1)
    assert numbers["ap50_difference"] < 1e-6
    assert (numbers["n_frames"], numbers["n_detections"]) == (30, 240)
    assert numbers["pycocotools_over_ours"] > 0


def test_the_bootstrap_covers_every_headline_number():
    numbers = time_bootstrap(draw(np.random.default_rng(0), 12, 5, 1, 4), rounds=1)
    assert (numbers["n_patients"], numbers["n_resamples"]) == (4, 2000)
    assert numbers["n_numbers"] > 10


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (scoring_speed.main, ["--rounds", "0"]),
        (coverage_study.main, ["--studies", "0"]),
        (coverage_study.main, ["--patients", "1"]),
        (coverage_study.main, ["--resamples", "-3"]),
    ],
)
def test_counts_that_measure_nothing_are_refused(main, words, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert "a whole number from" in capsys.readouterr().err
