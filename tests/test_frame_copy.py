"""The copy of a prepared set that both trainers of a benchmark read."""

from __future__ import annotations

from pathlib import Path

import cv2
from conftest import PreparedSet

from data_utils.lists import label_path, read_split_list
from training.benchmarks.frame_copy import copy_frames


def test_frames_are_copied_or_resized_with_their_labels(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    given = read_split_list(tiny_prepared.config.dataset.split_list(1, "train"))
    same = copy_frames(tiny_prepared.config, 1, tmp_path / "a copy", 64, ("train", "val"))
    larger = copy_frames(tiny_prepared.config, 1, tmp_path / "larger", 96, ("train",), whole=4, limit=11)
    copies = read_split_list(same.dataset.split_list(1, "train"))
    assert [path.name for path in copies] == [path.name for path in given]
    assert all(tmp_path in path.parents for path in copies)
    assert [path.read_bytes() for path in copies] == [path.read_bytes() for path in given]
    assert [label_path(path).read_bytes() for path in copies] == [label_path(path).read_bytes() for path in given]
    assert Path(same.dataset.manifest).read_bytes() == Path(tiny_prepared.config.dataset.manifest).read_bytes()

    resized = read_split_list(larger.dataset.split_list(1, "train"))
    assert len(resized) == 8  # 11, cut to whole batches of 4
    assert cv2.imread(str(resized[0])).shape == (96, 96, 3)
    assert (larger.imgsz_lr, larger.imgsz_hr, larger.sr_decoder) == (96, 192, "none")
