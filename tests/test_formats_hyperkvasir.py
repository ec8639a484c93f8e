"""HyperKvasir's bounding-boxes.json: layouts, boxes by hand, bad entries, random damage, round trips."""

from __future__ import annotations

import json
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

from data_utils.errors import InputError
from data_utils.formats import hyperkvasir
from data_utils.formats.labels import LabelledImage
from data_utils.records import Annotation

FILE = "bounding-boxes.json"


def box(label: object = "polyp", corners: tuple[object, ...] = (4, 2, 12, 10)) -> dict[str, Any]:
    return {"label": label, **dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))}


def entry(*boxes: Any) -> dict[str, Any]:
    return {"height": 20, "width": 40, "bbox": list(boxes)}


def raw_folder(root: Path, entries: object, name: str = FILE) -> Path:
    """Write the file, and the empty images/a.jpg and images/b c.jpg beside it."""
    touch_images(root / "images", "a.jpg", "b c.jpg")
    (root / name).write_text(json.dumps(entries, indent=1), encoding="utf-8")
    return root


def read(root: Path, **settings: object):
    return read_with(hyperkvasir, dataset(root, **settings))


def test_boxes_and_negatives_by_name(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": entry(box(), box("cyst", (0.5, 0, 40, 20))), "b c": entry()})
    touch_images(root, "images/c.jpg", "masks/a.jpg")
    result, findings = read(root)
    annotation = result["a.jpg"]
    assert annotation is not None
    assert annotation.class_ids.tolist() == [1, 0]
    assert in_pixels(annotation) == [[4, 2, 12, 10], [0.5, 0, 40, 20]]
    assert in_pixels(result["b c.jpg"]) == [], "an entry without boxes: a healthy frame"
    assert result["c.jpg"] is None, "no entry: a missing label"
    assert set(result) == {"a.jpg", "b c.jpg", "c.jpg"}, "masks are no frames"
    assert (findings.problems, findings.notes, +findings.counts) == ([], [], {})


@pytest.mark.parametrize(("folder", "name"), [("", FILE), ("segmented-images", FILE), ("", "kavsir_bboxes.json")])
def test_the_layouts_it_comes_in(tmp_path: Path, folder: str, name: str) -> None:
    assert not hyperkvasir.claims(tmp_path)
    raw_folder(tmp_path / folder, {"a": entry(box())}, name)
    assert hyperkvasir.claims(tmp_path)
    result, findings = read(tmp_path)
    assert in_pixels(result["a.jpg"]) == [[4, 2, 12, 10]]
    assert findings.problems == []
    source = hyperkvasir.find_sources(dataset(tmp_path), findings)[0]
    assert (source.below_raw, source.inner) == (f"{folder}/images/a.jpg".lstrip("/"), "a.jpg")


def test_names_come_from_the_list_or_sorted_from_the_labels(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": entry(box("polyp"), box("Zyste")), "b c": entry(box("cyst"))})
    assert hyperkvasir.class_names(root) == ("Zyste", "cyst", "polyp")
    (root / "classes.txt").write_text("polyp\ncyst\n")
    assert hyperkvasir.class_names(root) == ("polyp", "cyst")
    with pytest.raises(InputError, match="holds no box, so no class name; give --names"):
        hyperkvasir.class_names(raw_folder(tmp_path / "empty", {"a": entry()}))
    with pytest.raises(InputError, match=rf"{FILE}:2: 'a': 'label' must be text, found 5"):
        hyperkvasir.class_names(raw_folder(tmp_path / "bad", {"a": entry(box(5))}))


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (box("Polyp"), "class 'Polyp' is not among dataset.names ['cyst', 'polyp'], did you mean 'polyp'?"),
        (box(None), "'label' must be text, found nothing"),
        (box("polyp", (4, "2", 12, 10)), "ymin must be a number, found '2'"),
        (box("polyp", (4, 2, 10**400, 10)), "xmax must be a number"),
        ({"label": "polyp"}, "xmin must be a number, found None"),
        ([1, 2, 3, 4], "expected an object with label and corners, found [1, 2, 3, 4]"),
        (box("polyp", (12, 2, 4, 10)), "a box without area"),
        (box("polyp", (50, 2, 60, 10)), "a box outside the frame"),
    ],
)
def test_bad_boxes_are_named_with_file_line_and_image(tmp_path: Path, second: object, message: str) -> None:
    root = raw_folder(tmp_path, {"a": entry(box(), second)})
    _, findings = read(root)
    assert findings.n_problems == 1
    assert findings.problems[0].startswith(f"{root / FILE}:13: box 2 of 'a': ")
    assert message in findings.problems[0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "'a': expected an object with height, width and bbox, found None"),
        ([box()], "'a': expected an object with height, width and bbox"),
        ({"height": 20}, "'a': 'bbox' must be a list, found nothing"),
    ],
)
def test_bad_entries_are_no_healthy_frames(tmp_path: Path, bad: object, message: str) -> None:
    _, findings = read(raw_folder(tmp_path, {"b c": entry(), "a": bad}))
    assert findings.n_problems == 1
    assert f"{FILE}:7: {message}" in findings.problems[0]


def test_entries_and_images_that_do_not_match(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": entry(), "gone": entry()})
    touch_images(root, "images/sub/a.png", "images/sub/b c.png")
    result, findings = read(root)
    assert findings.n_problems == 2
    assert f"{root / 'images/sub/a.png'}: shares its name" in findings.problems[0]
    assert f"{root / FILE}:7: no image 'gone' below" in findings.problems[1]
    assert result["sub/b c.png"] is None, "of images without an entry, equal names do no harm here"


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "expected an object with an entry for each image"), ('{"a": 1,\n}', ":2: not JSON"),
     ('{"a": 1, "a": 2}', "the key 'a' stands twice"), ('{"\\u00e4": 1, "a\\u0308": 1}', "how their letters")],
)  # fmt: skip
def test_a_file_that_is_something_else(tmp_path: Path, content: str, message: str) -> None:
    root = raw_folder(tmp_path, {})
    (root / FILE).write_text(content)
    with pytest.raises(InputError) as error:
        read(root)
    assert f"{root / FILE}" in str(error.value)
    assert message in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"no {FILE} there or in segmented-images"):
        read(tmp_path)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(InputError, match=r"images: no such folder; put the images"):
        read(tmp_path)


def test_a_written_size_that_disagrees_is_noted(tmp_path: Path) -> None:
    result, findings = read(raw_folder(tmp_path, {"a": {**entry(box()), "width": 80}, "b c": entry()}))
    assert in_pixels(result["a.jpg"]) == [[4, 2, 12, 10]]
    assert +findings.counts == {"image sizes that disagree with the label file": 1}
    assert "'a': says 80x20 pixels but the image has 40x20" in findings.notes[0]


def test_names_that_collide_are_not_written(tmp_path: Path) -> None:
    frames = [LabelledImage(name, 4, 4, Annotation.empty()) for name in ("s/a.jpg", "t/b.jpg", "t/a.png")]
    with pytest.raises(InputError, match=r"t/a\.png: .* s/a\.jpg is called 'a' too"):
        hyperkvasir.write_set(tmp_path, NAMES, frames)
    assert list(tmp_path.iterdir()) == []


@given(labelled_sets())
@settings(max_examples=40)
def test_written_sets_are_read_back(tmp_path_factory: pytest.TempPathFactory, frames: list[LabelledImage]) -> None:
    assert_round_trip(hyperkvasir, tmp_path_factory.mktemp("kväsir set"), frames)


WHOLE = json.dumps({"a": entry(box(), box("cyst", (0.5, 0, 40, 20))), "b c": entry()}, indent=1)


@given(st.data())
def test_random_damage_is_a_problem_at_most(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.getbasetemp() / "damaged kvasir"
    if not root.exists():
        raw_folder(root, {})
    (root / FILE).write_bytes(data.draw(damaged(WHOLE)))
    assert_complains_in_one_line(lambda: read(root), str(root / FILE))
    assert_complains_in_one_line(lambda: read(root, bad_boxes="drop"), str(root / FILE))
    assert_complains_in_one_line(lambda: hyperkvasir.class_names(root), str(root / FILE))
