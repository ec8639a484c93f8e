"""Hidden and system folders hold no data, in any command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from raw_samples import raw_folder, read

from data_utils.convert import convert
from data_utils.files import is_hidden_below, visible_files
from data_utils.frames import find_videos
from data_utils.imaging.images import list_images
from data_utils.preprocess import create_dual_resolution, filter_frames
from deployment.inference import find_sources

FOLDERS = (".ipynb_checkpoints", ".Trash-1000", "@eaDir", "@eadir", "__MACOSX", "$RECYCLE.BIN", ".git", "lost+found",
           "System Volume Information", ".AppleDouble", "Network Trash Folder", "@tmp")  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("place", ["images/{}", "{}/images", "{}"])
def test_a_picture_in_a_hidden_folder_is_no_frame(tmp_path: Path, folder: str, place: str) -> None:
    root = raw_folder(tmp_path / "raw", {"a.png": "0 0.5 0.5 0.2 0.2"})
    copy = root / place.format(folder) / "a.png"
    copy.parent.mkdir(parents=True)
    copy.write_bytes((root / "images/a.png").read_bytes())
    labels = root / "labels" / folder
    labels.mkdir()
    (labels / "a.txt").write_text("")
    (root / folder).mkdir(exist_ok=True)
    (root / folder / "x.xml").write_text("<annotation><object></annotation>")
    (root / folder / "x.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    frame, = read(root, group="image", metadata=None, allow_background=True).frames
    assert (frame.stem, len(frame.annotation)) == ("a", 1)
    assert find_sources(str(root)).images == (root / "images/a.png",)
    assert create_dual_resolution(root, tmp_path / "lr", tmp_path / "hr") == 1
    assert sum(filter_frames(root, tmp_path / "kept")) == 1
    convert(root, tmp_path / "coco", "coco", names=["lesion"])
    assert len(list_images(tmp_path / "coco")) == 1


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_video_in_a_hidden_folder_is_no_video(tmp_path: Path, folder: str) -> None:
    for path in (tmp_path / "a.mp4", tmp_path / folder / "b.mp4", tmp_path / "._a.mp4"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert find_videos(tmp_path) == [tmp_path / "a.mp4"]
    assert find_sources(str(tmp_path)).videos == (tmp_path / "a.mp4",)


def test_a_hidden_folder_above_the_set_hides_nothing(tmp_path: Path) -> None:
    root = raw_folder(tmp_path / ".cache" / "@eaDir" / "raw", {"a.png": ""})
    assert list_images(root) == [root / "images/a.png"]
    assert find_sources(str(root)).images == (root / "images/a.png",)
    assert not is_hidden_below(root / "images/a.png", root)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert visible_files(tmp_path / "absent") == []
