"""Whole raw folders: formats told apart, the ways on, one message for all problems."""

from __future__ import annotations

import typing
from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_samples import raw_folder, read

from data_utils.config.sections import Format
from data_utils.errors import InputError
from data_utils.formats import registry
from data_utils.formats.labels import LabelledImage
from data_utils.records import Annotation


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
    registry = read(root)
    assert registry.counts["frames whose has_lesion disagrees with their labels"] == 1
    assert any("a.png: has_lesion" in note for note in registry.notes)


FOUND_BY_AUTO = sorted(set(registry.READERS) - set(registry.MASKS))


def write_in(name: str, root: Path) -> Path:
    """Make a set of one frame with a box and one healthy frame, 40x20 pixels, in the format `name`."""
    boxes = Annotation(np.array([[0.3, 0.5, 0.2, 0.4]]), np.array([0]))
    frames = [LabelledImage("a.png", 40, 20, boxes), LabelledImage("n.png", 40, 20, Annotation.empty())]
    registry.READERS[name].write_set(root, ("lesion",), frames)
    folder = {"voc": "JPEGImages", "labelmap": "img", "mask": "img"}.get(name, "images")
    (root / folder).mkdir(parents=True, exist_ok=True)
    for frame in frames:
        cv2.imencode(".png", np.zeros((20, 40, 3), np.uint8))[1].tofile(root / folder / frame.inner)
    return root


def test_every_format_of_the_config_has_a_reader() -> None:
    assert set(registry.READERS) == set(typing.get_args(Format)) - {"auto"}


@pytest.mark.parametrize("name", sorted(registry.READERS))
def test_every_format_is_found_and_comes_back(tmp_path: Path, name: str) -> None:
    root = write_in(name, tmp_path)
    settings = {"labelmap": {"labelmap": {"values": {1: "lesion"}}}, "mask": {"format": "mask"}}.get(name, {})
    frames = {frame.stem: frame.annotation for frame in read(root, group="image", metadata=None, **settings).frames}
    assert sorted(frames) == ["a", "n"]
    np.testing.assert_allclose(frames["a"].boxes_cxcywhn, [[0.3, 0.5, 0.2, 0.4]], atol=1e-6)
    assert len(frames["n"]) == 0
    if name in FOUND_BY_AUTO:
        assert [other for other in FOUND_BY_AUTO if registry.READERS[other].claims(root)] == [name]
        assert registry.detect_format(root) == name
        assert registry.READERS[name].class_names(root) == ("lesion",)


@pytest.mark.parametrize("other", ["voc", "coco", "cvat", "labelme", "hyperkvasir"])
def test_formats_that_both_claim_a_folder_are_listed(tmp_path: Path, other: str) -> None:
    root = write_in("yolo", tmp_path / "yolo")
    for path in registry.READERS[other].write_set(root, ("lesion",), [
        LabelledImage("a.png", 40, 20, Annotation(np.array([[0.3, 0.5, 0.2, 0.4]]), np.array([0])))
    ]):  # fmt: skip
        assert path.exists()
    with pytest.raises(InputError, match=rf"holds labels in 2 formats: yolo, {other}; set dataset\.format to one"):
        read(root, group="image")
    assert read(root, group="image", format="yolo").counts["boxes"] == 1


def test_masks_must_be_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds masks; set dataset\.labelmap\.values, .*or.* dataset\.format = mask"):
        read(write_in("mask", tmp_path), group="image")


def test_problems_come_before_the_lack_of_images(tmp_path: Path) -> None:
    """A list of images that are not there says so, and not only that there are no images."""
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [lesion]\n")
    (tmp_path / "list.txt").write_text("images/a.png\n")
    with pytest.raises(InputError, match=r"not there: .*list\.txt:1: 'images/a\.png'"):
        read(tmp_path, group="image")


def test_pictures_of_a_kind_that_is_not_read_are_told(tmp_path: Path) -> None:
    root = write_in("yolo", tmp_path)
    (root / "images" / "x.GIF").write_bytes(b"GIF89a")
    raw_set_read = read(root, group="image", metadata=None)
    assert raw_set_read.counts["pictures of a kind that is not read"] == 1
    assert f"first {root / 'images' / 'x.GIF'}; save them as PNG" in raw_set_read.notes[0]
    for name in ("a.png", "n.png"):
        (root / "images" / name).unlink()
    with pytest.raises(InputError, match=r"no images there \(\.bmp .*\), only pictures of a kind .* not read: .*GIF"):
        read(root, group="image", metadata=None)


@pytest.mark.parametrize("name", ["voc", "coco", "cvat", "labelme", "hyperkvasir"])
def test_an_inherited_format_is_named_with_the_way_back(tmp_path: Path, name: str) -> None:
    root = raw_folder(tmp_path, {"a.png": "0 0.5 0.5 0.1 0.1"})
    with pytest.raises(InputError) as error:
        read(root, group="image", format=name)
    assert f"dataset.format = {name}" in str(error.value)
    assert "set dataset.format: auto" in str(error.value)
    assert "\n" not in str(error.value)
    assert read(root, group="image").counts["frames"] == 1
