"""Frames under speckle: what is drawn from what, what stays fixed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PreparedSet
from torch.utils.data import default_collate

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.imaging.images import read_bgr
from data_utils.loader import make_loader
from data_utils.speckle import SpeckleDataset


@pytest.fixture
def config(tiny_prepared: PreparedSet) -> Config:
    return override_config(tiny_prepared.config, ["denoise.crop=32", "denoise.looks=[2,20]"])


def open_set(config: Config, part: str = "train", training: bool = True, limit: int | None = None) -> SpeckleDataset:
    return SpeckleDataset(config.dataset.split_list(1, part), config, training, limit)


def test_training_squares_follow_from_seed_epoch_and_index(config: Config) -> None:
    one, other = open_set(config), open_set(config)
    first = [one.pair(index) for index in range(4)]
    assert all(noisy.shape == clean.shape == (32, 32, 3) for noisy, clean in first)
    assert all(np.array_equal(a, b) for index in range(4) for a, b in zip(first[index], other.pair(index), strict=True))
    one.set_epoch(1)
    assert not np.array_equal(first[0][0], one.pair(0)[0])
    another_seed = open_set(override_config(config, ["seed=1"]))
    assert not np.array_equal(first[0][0], another_seed.pair(0)[0])


def test_a_clean_square_is_cut_from_its_frame_and_may_be_flipped(config: Config) -> None:
    frames = open_set(config)
    whole = cv2.cvtColor(read_bgr(frames.image_paths[2]).bgr, cv2.COLOR_BGR2RGB)
    flipped = []
    for epoch in range(12):
        frames.set_epoch(epoch)
        clean = frames.pair(2)[1]
        errors = [
            cv2.matchTemplate(whole, np.ascontiguousarray(square), cv2.TM_SQDIFF).min()
            for square in (clean, clean[:, ::-1])
        ]
        assert min(errors) < 100  # the FFT rounds; another square differs by millions
        flipped.append(errors[1] < errors[0])
    assert {True, False} <= set(flipped)


def test_the_strength_varies_between_its_bounds(config: Config) -> None:
    frames = open_set(override_config(config, ["denoise.looks=[2,50]"]))
    looks = []
    for epoch in range(15):
        frames.set_epoch(epoch)
        noisy, clean = frames.pair(0)
        usable = (clean > 20) & (clean < 110)
        looks.append(1 / (noisy[usable] / clean[usable]).var())
    assert min(looks) < 8
    assert max(looks) > 20


def test_held_out_frames_are_whole_and_their_noise_is_fixed_whatever_the_list(config: Config) -> None:
    frames, few = open_set(config, "val", training=False), open_set(config, "val", training=False, limit=3)
    assert len(few) == 3
    assert [few.image_paths[0], few.image_paths[-1]] == [frames.image_paths[0], frames.image_paths[-1]]
    noisy, clean = few.pair(2)
    assert noisy.shape == (64, 64, 3)
    frames.set_epoch(5)
    again, same = frames.pair(len(frames) - 1)
    assert np.array_equal(noisy, again)
    assert np.array_equal(clean, same)
    assert np.array_equal(clean, cv2.cvtColor(read_bgr(frames.image_paths[-1]).bgr, cv2.COLOR_BGR2RGB))


def test_hr_frames_are_found_by_stem(config: Config) -> None:
    frames = open_set(override_config(config, ["denoise.source=hr"]), "val", training=False)
    assert frames.side == 128
    assert {path.parent for path in frames.image_paths} == {config.dataset.hr_images}


def test_a_crop_larger_than_the_frames_is_the_frame(config: Config) -> None:
    assert open_set(override_config(config, ["denoise.crop=500"])).pair(0)[1].shape == (64, 64, 3)


@pytest.mark.integration
def test_the_number_of_loader_processes_changes_nothing(config: Config) -> None:
    batches = []
    for workers in (0, 2):
        loader = make_loader(
            open_set(config), 4, workers=workers, shuffle=True, seed=3, collate_fn=default_collate
        )
        loader.set_epoch(2)
        batches.append(list(loader))
    assert len(batches[0]) > 1
    for one, other in zip(*batches, strict=True):
        assert one["img_path"] == other["img_path"]
        assert one["noisy"].equal(other["noisy"])
        assert one["clean"].shape == (len(one["img_path"]), 3, 32, 32)


def test_bad_lists_and_frames_of_other_sizes_are_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such split list"):
        open_set(config, "nothing")
    good = config.dataset.split_list(1, "val").read_text().splitlines()[0]
    odd = tmp_path / "lr" / "images" / "odd.png"
    odd.parent.mkdir(parents=True)
    cv2.imwrite(str(odd), np.zeros((64, 48, 3), np.uint8))
    for lines in ([good, str(odd)], [str(odd)]):
        (tmp_path / "list.txt").write_text("\n".join(lines))
        with pytest.raises(InputError, match=r"odd\.png: 48x64 pixels"):
            SpeckleDataset(tmp_path / "list.txt", config, training=False)
