"""The pictures follow from the two saved files alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from labelled_frames import labelled_config, write_frames

from data_utils.box_stats import box_statistics
from data_utils.box_stats.plots import draw_box_plots

SCATTER_BLUE = (235, 99, 37)  # BGR of stride 8


def draw(folder: Path, boxes: list[tuple[int, float, float]], *overrides: str) -> dict[str, np.ndarray]:
    write_frames(folder, [boxes])
    box_statistics(labelled_config(folder, ("lesion",), *overrides), 1, 9, 0, folder / "out")
    return {path.stem: cv2.imread(str(path)) for path in (folder / "out").glob("*.png")}


@pytest.mark.parametrize("boxes", [[(0, 0.2, 0.2)], [(0, 0.002, 0.9), (0, 1.0, 1.0)], [(0, 0.1, 0.1)] * 50])
def test_every_picture_is_drawn_for_odd_sets(tmp_path: Path, boxes):
    for name, picture in draw(tmp_path, boxes).items():
        assert picture.shape == (594, 792, 3), name
        assert picture[0, 0].tolist() == [255, 255, 255]
        assert (picture != 255).any(axis=2).mean() > 0.01, name


def test_they_are_redrawn_from_the_files_without_the_data(tmp_path: Path):
    before = draw(tmp_path, [(0, 0.05 * k, 0.3) for k in range(1, 9)])
    for path in (tmp_path / "out").glob("*.png"):
        path.unlink()
    (tmp_path / "processed/manifest.csv").unlink()
    assert [path.name for path in draw_box_plots(tmp_path / "out")] == ["sizes.png", "sides.png", "aspect_ratios.png"]
    for path in (tmp_path / "out").glob("*.png"):
        assert np.array_equal(cv2.imread(str(path)), before[path.stem])


def test_a_stride_has_its_colour(tmp_path: Path):
    small = draw(tmp_path / "small", [(0, 0.05, 0.05), (0, 0.06, 0.06)])["sizes"]
    large = draw(tmp_path / "large", [(0, 0.5, 0.5), (0, 0.6, 0.6)])["sizes"]
    blue = [int((np.abs(picture.astype(int) - SCATTER_BLUE).max(axis=2) < 4).sum()) for picture in (small, large)]
    assert blue[0] > 50
    assert blue[1] == 0
