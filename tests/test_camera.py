"""Camera frames, with a camera that is none."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from data_utils.errors import InputError
from deployment.video import CameraReader


class FakeCapture:
    """Gives `n_frames` pictures, then none."""

    n_frames, stated_rate = 3, 15.0

    def __init__(self, number: int) -> None:
        self.left, self.released = self.n_frames, False

    def isOpened(self) -> bool:
        return self.n_frames >= 0

    def get(self, key: int) -> float:
        assert key == cv2.CAP_PROP_FPS
        return self.stated_rate

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.full((8, 8, 3), self.left, np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    fake = type("Fake", (FakeCapture,), {})
    monkeypatch.setattr(cv2, "VideoCapture", fake)
    return fake


def test_frames_come_with_growing_times_until_the_camera_is_lost(camera: type[FakeCapture]):
    with CameraReader(0) as reader:
        frames = list(reader)
    assert reader.frame_rate == 15
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].pts < frames[1].pts < frames[2].pts
    assert frames[2].pts * reader.time_base < Fraction(5)  # seconds
    assert dict(reader.counts) == {"camera gave no more frames": 1}


@pytest.mark.parametrize("stated", [0.0, float("nan"), -1.0])
def test_a_camera_that_states_no_rate(camera: type[FakeCapture], stated: float):
    camera.stated_rate = stated
    assert CameraReader(0).frame_rate == 25


def test_absent_and_silent_cameras_are_refused(camera: type[FakeCapture]):
    camera.n_frames = -1
    with pytest.raises(InputError, match="--source 7: no camera"):
        CameraReader(7)
    camera.n_frames = 0
    with pytest.raises(InputError, match="gives no picture"):
        list(CameraReader(0))


@pytest.mark.parametrize("number", [999, 10**20])
def test_a_camera_that_is_not_there_costs_one_line(number: int, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(InputError, match="no camera of that number"):
        CameraReader(number)
    assert capfd.readouterr().err == ""
