"""Numbers in words."""

from __future__ import annotations

import pytest

from evaluation.report.parts import between, counted, knows_patients, object_noun, percent

INTERVAL = {"low": 0.1, "high": 0.2, "bca_low": 0.11, "bca_high": 0.226}


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [
        (0, "frame", "no frame"),
        (1, "box", "1 box"),
        (2, "box", "2 boxes"),
        (1200, "frame", "1,200 frames"),
        (2, "class", "2 classes"),
    ],
)
def test_counts(count, noun, words):
    assert counted(count, noun) == words


def test_intervals_and_shares():
    assert between(INTERVAL) == "0.110 to 0.226"
    assert between(INTERVAL, kind="", digits=1) == "0.1 to 0.2"
    assert between(INTERVAL, as_percent=True) == "11.0 to 22.6\u00a0%"
    assert between(None) == between({"bca_low": None, "bca_high": None}) == ""
    assert (percent(0.125), percent(None)) == ("12.5\u00a0%", "n/a")


def test_what_a_box_is_called_and_whose_it_is():
    assert object_noun({"per_class": [{}]}) == "lesion"
    assert object_noun({"per_class": [{}, {}]}) == "object"
    assert [knows_patients({"unit": unit}) for unit in ("patient", "sequence", "image", "frame")] == [
        True,
        True,
        False,
        False,
    ]
