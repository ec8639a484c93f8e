"""LabelMe: shapes by hand, files beside images and in folders, bad shapes, random damage, round trips."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from format_samples import (
    NAMES,
    assert_complains_in_one_line,
    assert_round_trip,
    damaged,
    dataset,
    in_pixels,
    labelled_sets,
    touch_images,
)
from format_samples import read as read_with
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.convert.steps import read_section
from data_utils.errors import InputError
from data_utils.formats import labelme, read_raw_set
from data_utils.formats.labels import OUTLINED, LabelledImage
from data_utils.records import Annotation


def shape(kind: object = "rectangle", points: object = ((4, 2), (12, 10)), label: object = "polyp") -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}


def text(*shapes: Any, **more: object) -> str:
    record = {"version": "5.0.1", "shapes": shapes, "imagePath": "a.jpg", "imageHeight": 20, "imageWidth": 40}
    return json.dumps({**record, "imageData": None, **more}, indent=1)


def raw_folder(root: Path, *shapes: Any, place: str = "images/a.json", **more: object) -> Path:
    """Write one LabelMe file, and the empty images/a.jpg."""
    touch_images(root / "images", "a.jpg")
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text(*shapes, **more), encoding="utf-8")
    return root


def read(root: Path, **settings: object):
    return read_with(labelme, dataset(root, **settings))


ROUND = 2 * math.sqrt(2)
SHAPES = {
    "corners in any order": (shape(points=[[12, 2], [4, 10]]), [4, 2, 12, 10]),
    "polygon": (shape("polygon", [[5, 2.5], [12, 3], [4, 10]]), [4, 2.5, 12, 10]),
    "no type": ({"label": "polyp", "points": [[5, 2], [12, 3], [4, 10]]}, [4, 2, 12, 10]),
    "circle": (shape("circle", [[10, 8], [12, 10]]), [10 - ROUND, 8 - ROUND, 10 + ROUND, 8 + ROUND]),
    "mask": (shape("mask", [[4, 2], [11, 9]]), [4, 2, 12, 10]),
    "turned": (shape("oriented_rectangle", [[8, 2], [12, 6], [8, 10], [4, 6]]), [4, 2, 12, 10]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_count_with_their_extent(tmp_path: Path, name: str) -> None:
    given_shape, expected = SHAPES[name]
    result, findings = read(raw_folder(tmp_path, given_shape))
    assert in_pixels(result["a.jpg"]) == [pytest.approx(expected, abs=1e-5)]
    assert result["a.jpg"] is not None
    assert result["a.jpg"].class_ids.tolist() == [1]
    outlined = name != "corners in any order"
    assert (findings.problems, findings.notes, +findings.counts) == ([], [], {OUTLINED: 1} if outlined else {})


@pytest.mark.parametrize("kind", ["point", "points", "line"])
def test_points_and_lines_are_left_aside_and_counted(tmp_path: Path, kind: str) -> None:
    result, findings = read(raw_folder(tmp_path, shape(kind, [[1, 1]], "landmark"), shape()))
    assert in_pixels(result["a.jpg"]) == [[4, 2, 12, 10]]
    assert +findings.counts == {"shapes left aside: a point or line has no box": 1}
    assert labelme.class_names(tmp_path) == ("polyp",)


def test_no_shape_is_a_healthy_frame_and_no_file_is_none(tmp_path: Path) -> None:
    root = raw_folder(tmp_path)
    touch_images(root, "images/b.jpg")
    result, findings = read(root)
    assert in_pixels(result["a.jpg"]) == []
    assert result["b.jpg"] is None
    assert findings.problems == []


def test_a_frame_of_points_and_lines_alone_is_taken_as_healthy_and_counted(tmp_path: Path) -> None:
    line = {"label": "cyst", "points": [[1, 1], [2, 2]], "shape_type": "line"}
    result, findings = read(raw_folder(tmp_path, line))
    assert in_pixels(result["a.jpg"]) == []
    assert findings.counts["frames with skipped shapes alone, taken as healthy"] == 1


@pytest.mark.parametrize("place", ["images/a.json", "labels/a.json", "annotations/a.json", "json/a.JSON"])
def test_files_beside_the_images_or_in_a_folder(tmp_path: Path, place: str) -> None:
    assert not labelme.claims(tmp_path)
    root = raw_folder(tmp_path, shape(), place=place)
    assert labelme.claims(root)
    assert in_pixels(read(root)[0]["a.jpg"]) == [[4, 2, 12, 10]]


def test_a_flat_folder_and_what_is_not_claimed(tmp_path: Path) -> None:
    touch_images(tmp_path, "a b.jpg")
    (tmp_path / "a b.json").write_text(text(shape(), imagePath="..\\old\\a b.jpg"))
    result, findings = read(tmp_path)
    assert in_pixels(result["a b.jpg"]) == [[4, 2, 12, 10]]
    assert findings.notes == []
    (tmp_path / "a b.json").write_text('{"images": [], "annotations": []}')
    assert not labelme.claims(tmp_path)
    assert not labelme.claims(tmp_path / "absent")


def test_a_file_of_another_image_is_noted(tmp_path: Path) -> None:
    _, findings = read(raw_folder(tmp_path, shape(), imagePath="other.jpg"))
    assert +findings.counts == {"label files that name another image": 1}
    assert "a.json: was drawn on 'other.jpg'" in findings.notes[0]


def test_names_come_from_the_list_or_sorted_from_the_labels(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, shape(label="polyp"), shape(label="Zyste"))
    (root / "other.json").write_text('{"shapes": 3}')
    assert labelme.class_names(root) == ("Zyste", "polyp")
    (root / "classes.txt").write_text("polyp\ncyst\n")
    assert labelme.class_names(root) == ("polyp", "cyst")
    for folder in (raw_folder(tmp_path / "healthy"), tmp_path / "absent"):
        with pytest.raises(InputError, match="no LabelMe file there holds a box"):
            labelme.class_names(folder)
    with pytest.raises(InputError, match=r"a\.json:4: shape 1: '' is no class name"):
        labelme.class_names(raw_folder(tmp_path / "bad", shape(label="")))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (shape(label="polyps"), "class 'polyps' is not among dataset.names ['cyst', 'polyp'], did you mean 'polyp'?"),
        (shape(label=3), "'label' must be text, found 3"),
        (shape("ellipse"), "shape_type 'ellipse'; known: rectangle, polygon"),
        (shape(["a"]), "shape_type ['a']; known: "),
        (shape(points=[[1, 2]]), "a rectangle of 1 points, expected 2 or more"),
        (shape("polygon"), "a polygon of 2 points, expected 3 or more"),
        (shape(points=[1, 2]), "each of points must be [x, y], found 1"),
        (shape(points=[[1, 2], [3, "4"]]), "each of points must be a number, found '4'"),
        (shape(points=None), "'points' must be a list, found nothing"),
        (shape(points=[[4, 2], [4, 10]]), "a box without area"),
        (shape(points=[[50, 2], [60, 10]]), "a box outside the frame"),
        ("shape", "expected an object with label and points, found 'shape'"),
    ],
)
def test_bad_shapes_are_named_with_file_and_line(tmp_path: Path, second: object, message: str) -> None:
    root = raw_folder(tmp_path, shape(), second)
    line = 4 + len(json.dumps(shape(), indent=1).splitlines())  # the first begins in line 4
    _, findings = read(root)
    assert findings.n_problems == 1
    assert findings.problems[0].startswith(f"{root / 'images' / 'a.json'}:{line}: shape 2: ")
    assert message in findings.problems[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected LabelMe's object with shapes"),
        ("{}", "'shapes' must be a list, found nothing"),
        ('{"shapes": [],\n "imageData": NaN}', ":2: NaN is no JSON number"),
        ("", ":1: not JSON"),
    ],
)
def test_a_file_that_is_something_else_is_no_healthy_frame(tmp_path: Path, content: str, message: str) -> None:
    root = raw_folder(tmp_path)
    (root / "images" / "a.json").write_text(content)
    _, findings = read(root)
    assert findings.n_problems == 1
    assert str(root / "images" / "a.json") in findings.problems[0]
    assert message in findings.problems[0]


def test_a_written_size_that_disagrees_is_noted(tmp_path: Path) -> None:
    _, findings = read(raw_folder(tmp_path, shape(), imageWidth=80))
    assert +findings.counts == {"image sizes that disagree with the label file": 1}
    assert read(raw_folder(tmp_path, shape(), imageWidth=None))[1].notes == []


def test_two_images_with_one_label_file_are_not_written(tmp_path: Path) -> None:
    frames = [LabelledImage(name, 4, 4, Annotation.empty()) for name in ("s/a.jpg", "s/a.png")]
    with pytest.raises(InputError, match=r"s/a\.png: its label file would be 's/a\.json', like that of s/a\.jpg"):
        labelme.write_set(tmp_path, NAMES, frames)
    assert list(tmp_path.iterdir()) == []


@given(labelled_sets())
@settings(max_examples=40)
def test_written_sets_are_read_back(tmp_path_factory: pytest.TempPathFactory, frames: list[LabelledImage]) -> None:
    assert_round_trip(labelme, tmp_path_factory.mktemp("läbelme set"), frames)


WHOLE = text(shape(), shape("polygon", [[5, 2.5], [12, 3], [4, 10]], "cyst"), shape("circle", [[9, 9], [9, 11]]))


@given(st.data())
def test_random_damage_is_a_problem_at_most(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.getbasetemp() / "damaged labelme"
    if not root.exists():
        raw_folder(root)
    path = root / "images" / "a.json"
    path.write_bytes(data.draw(damaged(WHOLE)))
    labelme.claims(root)
    assert_complains_in_one_line(lambda: read(root), str(path))
    assert_complains_in_one_line(lambda: read(root, bad_boxes="drop"), str(path))
    assert_complains_in_one_line(lambda: labelme.class_names(root), str(root))


def test_pictures_that_lie_in_image_data_alone_are_named(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(text(shape(), imagePath=f"{name}.jpg", imageData="iVBORw0KGgo="))
    with pytest.raises(InputError) as error:
        read_raw_set(dataset(tmp_path))
    assert f"2 LabelMe files hold their picture in imageData alone, first {tmp_path / 'a.json'}" in str(error.value)
    with pytest.raises(InputError, match="2 LabelMe files hold their picture in imageData"):
        read_section(tmp_path, (), {})
    touch_images(tmp_path, "a.jpg")
    _, findings = read(tmp_path)
    assert any(f"first {tmp_path / 'b.json'}" in note for note in findings.notes)
    assert +findings.counts["LabelMe files whose picture is in imageData alone, left out"] == 1
