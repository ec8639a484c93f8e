"""How alike two frames are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from audit_samples import cropped, halved, recompressed, texture

from data_utils.audit.likeness import FLIPS, N_DESCRIPTORS, SIDE, flip_signs, likeness, view
from data_utils.config.sections import AuditSection

COPY = AuditSection().near_duplicate


def seen(bgr: np.ndarray):
    grey = cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2GRAY)
    return view(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    "change",
    [
        lambda bgr: bgr,
        recompressed,
        halved,
        lambda bgr: recompressed(halved(bgr)),
        cropped,
        lambda bgr: cropped(bgr, 0.025),
        lambda bgr: bgr[12:, 12:],
        lambda bgr: bgr[:-12, :],
        lambda bgr: np.clip(bgr * 0.7 + 10.0, 0, 255).astype(np.uint8),
    ],
)
def test_a_copy_is_alike_whatever_it_went_through(change) -> None:
    for seed in range(5):
        bgr = texture(seed, 240)
        assert likeness(seen(bgr), seen(change(bgr))) >= COPY
        assert likeness(seen(change(bgr)), seen(bgr)) >= COPY


def test_a_frame_is_fully_like_itself_and_distinct_frames_are_not_alike() -> None:
    views = [seen(texture(seed)) for seed in range(12)]
    assert likeness(views[0], views[0]) == pytest.approx(1.0, abs=1e-3)
    others = [likeness(a, b) for i, a in enumerate(views) for b in views[i + 1 :]]
    assert max(others) < 0.5


@pytest.mark.parametrize("flip", FLIPS)
def test_flipping_a_view_is_viewing_the_flipped_frame(flip: int) -> None:
    bgr = texture(3)
    turned = bgr[:: -1 if flip & 2 else 1, :: -1 if flip & 1 else 1]
    expected, got = seen(turned), seen(bgr).flipped(flip)
    assert np.allclose(got.descriptors[0], expected.descriptors[0], atol=1e-3)
    assert likeness(got, expected) > 0.99
    if flip:
        assert likeness(seen(bgr), expected) < 0.5


def test_signs_of_a_flip_are_those_of_the_cosines() -> None:
    assert flip_signs(0).tolist() == [1.0] * N_DESCRIPTORS
    assert (flip_signs(1) * flip_signs(2)).tolist() == flip_signs(3).tolist()
    assert {*flip_signs(1), *flip_signs(2)} == {1.0, -1.0}


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_blank_frame_is_like_nothing(grey: int) -> None:
    blank = view(np.full((SIDE, SIDE), grey, np.uint8))
    assert blank.blank
    assert likeness(blank, blank) == 0.0
    assert likeness(blank, seen(texture(0))) == 0.0


def test_dark_frames_that_share_a_label_alone_are_not_copies() -> None:
    frames = []
    for seed in (1, 2):
        frame = texture(seed)
        frame[:16] = 0
        cv2.putText(frame, "12:30 CLINIC", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
        frames.append(seen(frame))
    assert likeness(*frames) < COPY
