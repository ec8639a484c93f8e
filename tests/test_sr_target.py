"""What the branch is asked to reconstruct in the studies that take the HR frame away."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import PreparedSet

from data_utils.config.loading import override_config
from data_utils.dataset import SR_TARGETS, SREYOLODataset, other_index

STILL = ["augment.flip=0", "augment.scale_p=0", "augment.shift_p=0", "augment.mosaic=0"]


def samples(prepared: PreparedSet, target: str, augment: bool = True, epoch: int = 0) -> list[np.ndarray]:
    config = override_config(prepared.config, [f"loss.sr_target={target}", *STILL])
    data = config.dataset
    dataset = SREYOLODataset(data.split_list(1, "train"), data.hr_images, augment, config=config, uint8=True)
    dataset.set_epoch(epoch)
    return [dataset[index]["hr_image"].permute(1, 2, 0).numpy() for index in range(4)]


def test_upsampled_has_no_finer_detail_than_the_input() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200  # one pixel wide: gone at half the side
    assert np.ptp(SR_TARGETS["upsampled"](stripes, np.random.default_rng(0))) == 0
    plain = np.full((8, 8, 3), 90, np.uint8)
    assert np.array_equal(SR_TARGETS["upsampled"](plain, np.random.default_rng(0)), plain)


def test_another_frame_is_never_the_same_one() -> None:
    rng = np.random.default_rng(0)
    drawn = {other_index(2, 5, rng) for _ in range(200)}
    assert drawn == {0, 1, 3, 4}
    assert other_index(0, 1, rng) == 0


@pytest.mark.parametrize("target", ["upsampled", "other", "random"])
def test_training_targets_change_and_validation_keeps_the_hr_frame(tiny_prepared: PreparedSet, target: str) -> None:
    hr_frames, targets = samples(tiny_prepared, "hr"), samples(tiny_prepared, target)
    assert all(not np.array_equal(one, other) for one, other in zip(hr_frames, targets, strict=True))
    assert [image.shape for image in targets] == [image.shape for image in hr_frames]
    judged = samples(tiny_prepared, target, augment=False)
    assert all(np.array_equal(a, b) for a, b in zip(judged, samples(tiny_prepared, "hr", augment=False), strict=True))


def test_what_is_drawn_follows_from_seed_epoch_and_index(tiny_prepared: PreparedSet) -> None:
    first, again, later = (samples(tiny_prepared, "random", epoch=epoch) for epoch in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, later, strict=True))
    assert abs(float(np.mean(first)) - 127.5) < 2


def test_other_is_the_frame_of_another_image(tiny_prepared: PreparedSet) -> None:
    data = tiny_prepared.config.dataset
    frames = [cv2.imread(str(path))[..., ::-1] for path in sorted(data.hr_images.iterdir())]
    known = {frame.tobytes() for frame in frames}
    assert all(np.ascontiguousarray(image).tobytes() in known for image in samples(tiny_prepared, "other"))
