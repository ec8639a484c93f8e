"""Whole raw folders: formats told apart, the ways on, one message for all problems."""

from __future__ import annotations

from pathlib import Path

import pytest
from raw_samples import raw_folder, read

from data_utils.errors import InputError
from data_utils.types import Annotation


@pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
def test_no_raw_folder_names_the_two_ways_on(tmp_path: Path, made: bool) -> None:
    root = tmp_path / "raw"
    if made:
        root.mkdir()
    with pytest.raises(InputError) as error:
        read(root)
    assert str(root) in str(error.value)
    assert "make demo" in str(error.value)


def test_two_formats_at_once_must_be_told_apart(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a.png": ""})
    (root / "images" / "a.xml").write_text("<annotation/>")
    with pytest.raises(InputError, match=r"set dataset\.format"):
        read(root, group="image")
    assert read(root, group="image", format="yolo").counts["frames"] == 1


def test_annotation_equality_of_two_readings(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {f"{name}.png": "0 0.5 0.5 0.1 0.1" for name in "cab"})
    once, again = (read(root, group="image").frames for _ in range(2))
    assert [frame.stem for frame in once] == [frame.stem for frame in again] == ["a", "b", "c"]
    assert all(isinstance(frame.annotation, Annotation) and len(frame.annotation) == 1 for frame in once)


def test_has_lesion_that_disagrees_is_counted(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a.png": "", "b.png": "0 0.5 0.5 0.1 0.1"})
    header = "filename,patient_id,dataset_source,has_lesion\n"
    (root / "metadata.csv").write_text(header + "a.png,1,s,1\nb.png,2,s,true\n")
    raw_set = read(root)
    assert raw_set.counts["frames whose has_lesion disagrees with their labels"] == 1
    assert any("a.png: has_lesion" in note for note in raw_set.notes)
