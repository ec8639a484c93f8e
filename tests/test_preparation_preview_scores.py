"""What the page says of each score agrees with what the filter does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.config.sections import FilterSection
from data_utils.imaging.quality import FrameScores, Reason, rejection_reasons
from data_utils.prepare.preview import SECTION_OF_KIND, TESTS, PreviewFrame, precise
from data_utils.prepare.preview_chart import Bar

BY_SECTION = {test.section: test for test in TESTS}


def frame_of(bits=None, **scores):
    values = {"sharpness": 200.0, "brightness": 100.0, "saturated": 0.0, "border": 0.0, "width": 640, "height": 480,
              "n_bytes": 50_000, "field_xyxy": (0, 0, 640, 480), "perceptual_hash": "0" * 16, **scores}  # fmt: skip
    return PreviewFrame("a.jpg", Path("a.jpg"), FrameScores(**values), (), bits)


def test_every_key_of_the_filter_is_on_the_page_once():
    keys = [key for test in TESTS for key in (test.low_key, test.high_key) if key]
    assert sorted(keys) == sorted(FilterSection.model_fields)
    assert set(SECTION_OF_KIND.values()) <= {*BY_SECTION, "unreadable"}


@given(
    sharpness=st.sampled_from([0.0, 99.99, 100.0, 500.0]),
    brightness=st.sampled_from([0.0, 29.9, 30.0, 100.0, 240.0, 240.1]),
    saturated=st.sampled_from([0.0, 0.2, 0.21, 1.0]),
    border=st.sampled_from([0.0, 0.5, 0.51]),
    side=st.sampled_from([1, 99, 100, 480]),
    n_bytes=st.sampled_from([0, 5119, 5120]),
    off=st.sets(st.sampled_from(sorted(FilterSection.model_fields))),
)
def test_a_frame_is_outside_where_the_filter_finds_a_reason(
    sharpness, brightness, saturated, border, side, n_bytes, off
):
    limits: dict[str, float | None] = {"border_max": 0.5, "min_side": 100, **dict.fromkeys(off)}
    thresholds = FilterSection(**limits)
    frame = frame_of(
        sharpness=sharpness, brightness=brightness, saturated=saturated, border=border, height=side, n_bytes=n_bytes
    )
    n_outside = 0
    for test in TESTS:
        score, (low, high) = test.score(frame), test.cuts(thresholds)
        n_outside += score is not None and ((low is not None and score < low) or (high is not None and score > high))
    assert frame.scores is not None
    assert n_outside == len(rejection_reasons(frame.scores, thresholds))


@pytest.mark.parametrize(("bits", "is_copy"), [(0, True), (5, True), (6, False), (64, False)])
def test_up_to_the_limit_is_a_near_duplicate(bits, is_copy):
    low, high = BY_SECTION["near-duplicate"].cuts(FilterSection(near_duplicate_bits=5))
    assert low is not None
    assert high is None
    assert (BY_SECTION["near-duplicate"].score(frame_of(bits)) < low) == is_copy


def test_frames_without_a_score():
    unreadable = PreviewFrame("a.jpg", Path("a.jpg"), None, (), None)
    assert [test.score(unreadable) for test in TESTS] == [None] * len(TESTS)
    assert unreadable.is_excluded
    assert unreadable.kinds == ("unreadable",)
    assert BY_SECTION["near-duplicate"].score(frame_of()) is None


def test_each_kind_counts_once():
    frame = PreviewFrame("a", Path("a"), None, tuple(Reason(kind, "") for kind in ("tiny", "dark", "tiny")), None)
    assert frame.kinds == ("dark", "tiny")


@pytest.mark.parametrize(
    ("value", "digits", "expected"),
    [
        (0, 3, "0"), (0.0, 6, "0"), (100.0, 6, "100"), (5120, 6, "5,120"), (1234567.8, 3, "1,234,568"),
        (99.98114, 6, "99.9811"), (0.000052, 3, "0.000052"), (0.1 + 0.2, 3, "0.3"), (1e-9, 3, "0.000000001"),
        (999.9999, 3, "1,000"), (1e-300, 3, "0"),
    ],
)  # fmt: skip
def test_numbers_for_people(value, digits, expected):
    assert precise(value, digits) == expected


def test_settings_name_key_value_and_rule():
    thresholds = FilterSection(bright_max=None, near_duplicate_bits=5)
    [low, high] = BY_SECTION["brightness"].settings(thresholds)
    assert (low.key, low.value, low.rule, low.label) == (
        "bright_min", "30", "a score below 30 excludes a frame", "bright_min: 30"
    )  # fmt: skip
    assert (high.key, high.value, high.label) == ("bright_max", "null", "")
    assert "off" in high.rule
    [glare] = BY_SECTION["glare"].settings(thresholds)
    assert (glare.value, glare.label.replace("\u00a0", " ")) == ("0.2", "glare_max: 0.2 (20 %)")
    [bits] = BY_SECTION["near-duplicate"].settings(thresholds)
    assert bits.rule.replace("\u00a0", " ") == "a score of at most 5 bits excludes a frame"


def test_bars_of_whole_numbers_name_the_first_and_the_last():
    bar = Bar(low=-0.5, high=1.5, count=1, is_excluded=False, x=0, width=1, height=1)
    assert BY_SECTION["near-duplicate"].interval(bar) == ("0", "1")
    assert BY_SECTION["sharpness"].interval(bar) == ("-0.5", "1.5")
