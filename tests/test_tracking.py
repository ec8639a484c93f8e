"""Identities through a video, and alerts that need several frames."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from data_utils.errors import InputError
from data_utils.records import Detections
from deployment.tracking import AlertRule, Tracker, low_conf

needs_lap = pytest.mark.skipif(importlib.util.find_spec("lap") is None, reason="lap is not installed")


def found(*boxes: tuple[float, float, float]) -> Detections:
    """Boxes of 40 px at x, y with a score."""
    table = np.array(boxes, np.float64).reshape(-1, 3)
    corners = np.concatenate([table[:, :2], table[:, :2] + 40], axis=1)
    return Detections(corners, table[:, 2], np.zeros(len(table)))


@needs_lap
def test_two_moving_lesions_keep_their_identities_when_their_order_changes():
    tracker = Tracker(0.25, AlertRule(1, 1))
    identities = []
    for k in range(20):
        frame = found((10 + 3 * k, 10, 0.9 - 0.03 * k), (200, 100 + 3 * k, 0.4 + 0.02 * k))
        tracked = tracker.update(frame)
        left = [track for track, box in zip(tracked.tracks, tracked.detections.boxes_xyxy, strict=True) if box[1] < 50]
        identities.append((left[0], next(track for track in tracked.tracks if track != left[0])))
    assert set(identities) == {(1, 2)} or set(identities) == {(2, 1)}


@needs_lap
def test_a_lesion_hidden_for_a_while_comes_back_as_itself():
    tracker = Tracker(0.25, AlertRule(1, 1))
    frames = [found((10, 10, 0.9))] * 5 + [found()] * 10 + [found((12, 10, 0.9))] * 3
    tracks = [tracker.update(frame).tracks for frame in frames]
    assert tracks[4] == tracks[-1] == (1,)


@needs_lap
def test_a_weak_detection_goes_on_a_track_but_begins_none():
    tracker = Tracker(0.5, AlertRule(1, 1))
    assert tracker.update(found((10, 10, 0.3))).tracks == ()
    for _ in range(3):
        tracker.update(found((10, 10, 0.9)))
    weak = tracker.update(found((10, 10, 0.3)))
    assert weak.tracks == (1,)
    assert low_conf(0.5) < 0.3


@needs_lap
@pytest.mark.parametrize(("seen", "raised_at"), [("xxxxx", 2), ("x.x.x", 4), ("x..x..x", None), ("xx...xxx", 7)])
def test_an_alert_needs_three_of_five_frames(seen: str, raised_at: int | None):
    tracker = Tracker(0.25, AlertRule(3, 5))
    alerts = [any(tracker.update(found((10, 10, 0.9)) if mark == "x" else found()).alerts) for mark in seen]
    assert (alerts.index(True) if True in alerts else None) == raised_at


@needs_lap
def test_an_alert_does_not_flicker():
    tracker = Tracker(0.25, AlertRule(3, 5))
    seen = "xxx.x...x..x"
    alerts = [tracker.update(found((10, 10, 0.9)) if mark == "x" else found()).alerts for mark in seen]
    assert [alert == (True,) for alert, mark in zip(alerts, seen, strict=True) if mark == "x"][2:] == [True] * 4


@needs_lap
def test_what_is_long_gone_takes_no_memory():
    tracker = Tracker(0.25, AlertRule(2, 3))
    for k in range(300):
        tracker.update(found((500 * (k // 3 % 7), 300 * (k // 3 % 5), 0.9)))
    assert len(tracker._seen) < 50
    assert len(tracker._raised) < 50


@pytest.mark.parametrize("text", ["3", "5/3", "0/5", "a/b", "3/5/7", "-1/2"])
def test_a_rule_that_means_nothing_is_refused(text: str):
    with pytest.raises(InputError, match=f"--alert {text}"):
        AlertRule.parse(text)


def test_rules_are_read():
    assert AlertRule.parse("2/7") == AlertRule(2, 7)


def test_without_its_packages_one_line_says_so(monkeypatch: pytest.MonkeyPatch):
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'lap'")

    monkeypatch.setattr("models.backbone.ultralytics_module", absent)
    with pytest.raises(InputError, match=r"--track needs torch, ultralytics and lap.*pip install lap"):
        Tracker(0.25, AlertRule())
