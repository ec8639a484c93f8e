"""COCO JSON: boxes by hand, where images are found, every kind of bad record, random damage, round trips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO
from format_samples import (
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
from data_utils.formats import coco
from data_utils.formats.labels import Findings, LabelledImage
from data_utils.records import Annotation

CATEGORIES = [{"id": 7, "name": "polyp"}, {"id": 3, "name": "cyst", "supercategory": "none"}]


def image(image_id: object = 1, name: str = "a.jpg", **more: object) -> dict[str, Any]:
    return {"id": image_id, "file_name": name, "width": 40, "height": 20, **more}


def box(category: object = 3, bbox: object = (4, 2, 8, 8), image_id: object = 1, **more: object) -> dict[str, Any]:
    return {"id": 17, "image_id": image_id, "category_id": category, "bbox": bbox, **more}


def text(images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES, indent: int | None = 1) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}, indent=indent)


def raw_folder(
    root: Path, images: list[Any], annotations: list[Any], place: str = "annotations/instances.json", **more: Any
) -> Path:
    """Write one COCO file, and the empty images/a.jpg and images/b.jpg."""
    touch_images(root / "images", "a.jpg", "b.jpg")
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(images, annotations, **more), encoding="utf-8")
    return root


def read(root: Path, size: tuple[int, int] = (40, 20), **settings: object):
    return read_with(coco, dataset(root, **settings), size)


BOTH = [image(), image("two", "b.jpg")]


def test_boxes_by_image_and_category_id(tmp_path: Path) -> None:
    result, findings = read(raw_folder(tmp_path, BOTH, [box(7), box(3, [0.5, 0, 39.5, 20])]))
    annotation = result["a.jpg"]
    assert annotation is not None
    assert annotation.class_ids.tolist() == [1, 0]
    assert in_pixels(annotation) == [[4, 2, 12, 10], [0.5, 0, 40, 20]]
    assert in_pixels(result["b.jpg"]) == [], "listed without a box: a healthy frame"
    assert (findings.problems, findings.notes, +findings.counts) == ([], [], {})
    assert coco.class_names(tmp_path) == ("cyst", "polyp")


def test_images_that_no_file_lists_have_no_label(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, [image()], [])
    touch_images(root, "masks/a.jpg")
    result, _ = read(root)
    assert result["b.jpg"] is None
    assert set(result) == {"a.jpg", "b.jpg"}, "beside images/ nothing is a frame"


def test_the_extent_of_polygons_stands_in_for_a_box(tmp_path: Path) -> None:
    polygons = [[4, 2, 12, 2.5, 8, 10], [20, 5, 21, 6, 20, 19]]
    result, _ = read(raw_folder(tmp_path, BOTH, [box(bbox=[], segmentation=polygons)]))
    assert in_pixels(result["a.jpg"]) == [[4, 2, 21, 19]]


def test_crowds_are_neither_boxes_nor_background(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, BOTH, [box(iscrowd=1), box(bbox=[1, 1, 3, 3], iscrowd=0)])
    result, findings = read(root)
    assert in_pixels(result["a.jpg"]) == [[1, 1, 4, 4]]
    assert +findings.counts == {"crowds (iscrowd), where nothing is learnt or counted": 1}
    crowd = result["a.jpg"].crowd
    assert crowd is not None
    assert in_pixels(crowd) == in_pixels(read(raw_folder(tmp_path / "b", BOTH, [box()]))[0]["a.jpg"])


def test_a_crowd_may_be_taken_as_one_box(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, BOTH, [box(iscrowd=1)])
    result, findings = read(root, crowd="box")
    assert (len(result["a.jpg"]), result["a.jpg"].crowd) == (1, None)
    assert +findings.counts == {"crowds (iscrowd) taken as one box": 1}


def test_a_crowd_that_is_only_a_run_length_mask_covers_the_frame(tmp_path: Path) -> None:
    record = {**box(), "iscrowd": 1, "bbox": [], "segmentation": {"size": [20, 40], "counts": [5, 10, 785]}}
    crowd = read(raw_folder(tmp_path, BOTH, [record]))[0]["a.jpg"].crowd
    assert crowd is not None
    assert in_pixels(crowd) == [[0, 0, 40, 20]]


def test_run_length_masks_without_a_box_are_a_problem_or_dropped(tmp_path: Path) -> None:
    mask = {"size": [20, 40], "counts": [5, 10, 785]}
    record = {"id": 17, "image_id": 1, "category_id": 3, "segmentation": mask}
    root = raw_folder(tmp_path, BOTH, [record, box(segmentation=mask)])
    result, findings = read(root)
    assert findings.n_problems == 1
    assert "annotation id 17 (image 'a.jpg'): a run-length mask without a bbox" in findings.problems[0]
    result, findings = read(root, bad_boxes="drop")
    assert (findings.n_problems, len(in_pixels(result["a.jpg"]))) == (0, 1)
    assert +findings.counts == {"boxes dropped: run-length mask without a bbox": 1}


def test_files_of_several_splits_are_read_together(tmp_path: Path) -> None:
    root = tmp_path / "a set"
    for split, name in (("train", "x.jpg"), ("val", "y.jpg")):
        touch_images(root / "images", f"{split}/{name}")
        raw_folder(root, [image(1, name)], [box()], f"annotations/instances_{split}.json")
    result, findings = read(root)
    assert {name for name, boxes in result.items() if boxes is not None} == {"train/x.jpg", "val/y.jpg"}
    assert (findings.problems, +findings.counts) == ([], {})
    raw_folder(root, [], [], "annotations/instances_test.json", categories=CATEGORIES[:1])
    for read_it in (lambda: read(root), lambda: coco.class_names(root)):
        with pytest.raises(InputError, match=r"instances_train.json: categories .*but .*instances_test.json has"):
            read_it()


def test_roboflows_folders_and_root_category(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "lesions", "supercategory": "none"},
                  {"id": 1, "name": "polyp", "supercategory": "lesions"},
                  {"id": 2, "name": "cyst", "supercategory": "lesions"}]  # fmt: skip
    for split in ("train", "valid"):
        touch_images(tmp_path / split, f"{split}_jpg.rf.1.jpg")
        content = text([image(0, f"{split}_jpg.rf.1.jpg")], [box(1, image_id=0)], categories)
        (tmp_path / split / "_annotations.coco.json").write_text(content)
    assert coco.claims(tmp_path)
    assert coco.class_names(tmp_path) == ("polyp", "cyst")
    result, findings = read(tmp_path)
    assert findings.problems == []
    assert [in_pixels(boxes) for boxes in result.values()] == [[[4, 2, 12, 10]]] * 2
    (tmp_path / "train" / "_annotations.coco.json").write_text(text([], [box(0)], categories))
    assert coco.class_names(tmp_path) == ("lesions", "polyp", "cyst"), "a root with boxes is a class"


def test_other_json_files_are_left_aside_and_counted(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, BOTH, [box()])
    (root / "info.json").write_text('{"licence": "none"}')
    _, findings = read(root)
    assert +findings.counts == {"JSON files without COCO's lists, left aside": 1}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (box(9), "category id 9 is not among the categories"),
        (box("polyp"), "category id 'polyp' is not among"),
        (box(bbox=[4, 2, 8]), r"bbox must be [x, y, width, height], found [4, 2, 8]"),
        (box(bbox=[4, 2, "8", 8]), "each of bbox must be a number, found '8'"),
        (box(bbox=[4, 2, 10**400, 8]), "each of bbox must be a number"),
        (box(bbox=None), "neither a bbox nor a polygon"),
        (box(bbox=None, segmentation=[[1, 2, 3, 4]]), "a polygon must be a list of three or more x, y pairs"),
        (box(bbox=[4, 2, 0, 8]), "a box without area"),
        (box(bbox=[4, 2, -3, 8]), "a box without area"),
        (box(bbox=[50, 2, 4, 8]), "a box outside the frame"),
    ],
)
def test_bad_annotations_are_named_with_file_line_id_and_image(tmp_path: Path, record: object, message: str) -> None:
    root = raw_folder(tmp_path, BOTH, [box(), record])
    lines = (root / "annotations" / "instances.json").read_text().splitlines()
    line = [number for number, content in enumerate(lines, start=1) if content == "  {"][3]  # two images, one box
    _, findings = read(root)
    assert findings.n_problems == 1
    place = f"{root / 'annotations' / 'instances.json'}:{line}: annotation id 17 (image 'a.jpg'): "
    assert findings.problems[0].startswith(place)
    assert message in findings.problems[0]


def test_text_stands_for_a_number_where_only_one_is_meant(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, [image(1), image("2", "b.jpg")], [box("7", image_id="1"), box(3, image_id=2)])
    result, findings = read(root)
    assert [in_pixels(result[name]) for name in ("a.jpg", "b.jpg")] == [[[4, 2, 12, 10]]] * 2
    assert findings.problems == []
    assert +findings.counts == {coco.RETYPED: 3}
    roots = [{"id": "1", "name": "all", "supercategory": "none"}, {"id": "2", "name": "polyp", "supercategory": "all"}]
    raw_folder(tmp_path, BOTH, [box(1), box(2)], categories=roots)
    assert coco.class_names(tmp_path) == ("all", "polyp"), "a root with boxes is a class"


def test_ids_that_are_text_against_numbers_are_told_so(tmp_path: Path) -> None:
    _, findings = read(raw_folder(tmp_path, [image(1), image(2, "b.jpg")], [box(image_id="01"), box("a")]))
    assert "image id '01' is not listed (it is text, those listed are a number, as 2)" in findings.problems[0]
    assert "category id 'a' is not among the categories (it is text, those listed are" in findings.problems[1]
    _, findings = read(raw_folder(tmp_path, [image(1), image("1", "b.jpg")], [box()]))
    assert "this id stands twice, as text and as a number" in findings.problems[0]
    categories = [CATEGORIES[0], {"id": "7", "name": "cyst"}]
    with pytest.raises(InputError, match="category id '7' stands twice"):
        read(raw_folder(tmp_path, BOTH, [], categories=categories))


def test_a_frame_of_crowds_alone_is_counted(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, BOTH, [{**box(), "iscrowd": 1}])
    result, findings = read(root)
    assert in_pixels(result["a.jpg"]) == []
    assert not result["a.jpg"].is_healthy
    assert findings.counts["frames left without a box"] == 0


def test_captions_beside_the_instances_are_left_aside(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, BOTH, [box()])
    captions = {"images": [image()], "annotations": [{"id": 1, "image_id": 1, "caption": "a frame"}]}
    (root / "annotations" / "captions.json").write_text(json.dumps(captions))
    result, findings = read(root)
    assert (len(in_pixels(result["a.jpg"])), findings.problems) == (1, [])
    assert findings.counts["JSON files without COCO's lists, left aside"] == 1


def test_unknown_names_show_the_nearest(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, BOTH, [box()], categories=[{"id": 3, "name": "Polyps"}])
    _, findings = read(root)
    assert "class 'Polyps' is not among dataset.names ['cyst', 'polyp'], did you mean 'polyp'?" in findings.problems[0]


@pytest.mark.parametrize(
    ("images", "annotations", "message"),
    [
        ([image(name="gone.jpg")], [box()], "image id 1: no image 'gone.jpg' below"),
        ([image(name="../a.jpg")], [], "image id 1: file name '../a.jpg' leads out of the raw folder"),
        ([image(name="/etc/a.jpg")], [], "leads out of the raw folder"),
        ([image(), image(1, "b.jpg")], [], "image id 1: this id stands twice"),
        ([image(), image(2)], [], "image id 2: 'a.jpg' is listed at "),
        ([image([1])], [], "'id' must be a whole number, found [1]"),
        (["a.jpg"], [], "expected an object with 'id', found 'a.jpg'"),
        ([{"id": 1}], [], "image id 1: 'file_name' must be text, found nothing"),
        ([image()], [box(image_id=5)], "annotation id 17: image id 5 is not listed"),
        ([image()], [box(image_id=None)], "'image_id' must be a whole number, found nothing"),
        ([image()], ["box"], "expected an object with 'image_id', found 'box'"),
    ],
)
def test_bad_lists_are_problems_with_file_and_line(
    tmp_path: Path, images: list[Any], annotations: list[Any], message: str
) -> None:
    _, findings = read(raw_folder(tmp_path, images, annotations))
    assert findings.n_problems == 1
    assert f"{tmp_path / 'annotations' / 'instances.json'}:" in findings.problems[0]
    assert message in findings.problems[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "expected COCO's object with images, annotations, categories"),
        ('{"images": [], "annotations": []}', "'categories' must be a list, found nothing"),
        ('{"images": [], "annotations": {}, "categories": []}', "'annotations' must be a list, found {}"),
        (text([], [], [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], None), ":1: category id 1 stands twice"),
        (text([], [], [{"id": 1, "name": ""}], None), ":1: '' is no class name"),
        (text([], [], [4], None), ":1: expected an object with 'id', found 4"),
        ('{"images": [],\n"annotations": [,', ":2: not JSON"),
        ('{"images": [NaN], "annotations": []}', ":1: NaN is no JSON number"),
    ],
)
def test_a_file_that_is_no_coco(tmp_path: Path, content: str, message: str) -> None:
    root = raw_folder(tmp_path, [], [])
    (root / "annotations" / "instances.json").write_text(content)
    for read_it in (lambda: read(root), lambda: coco.class_names(root)):
        with pytest.raises(InputError) as error:
            read_it()
        assert str(root / "annotations" / "instances.json") in str(error.value)
        assert message in str(error.value)


def test_folders_without_a_file_or_categories(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \.json file there"):
        read(tmp_path)
    with pytest.raises(InputError, match="absent: cannot be listed"):
        coco.class_names(tmp_path / "absent")
    with pytest.raises(InputError, match="list no categories"):
        coco.class_names(raw_folder(tmp_path, [], [], categories=[]))


@pytest.mark.parametrize(
    ("width", "height", "noted"), [(40, 20, ""), (None, 20, ""), (80, 40, "80x40"), (20, 40, "swapped")]
)
def test_the_size_comes_from_the_image(tmp_path: Path, width: int | None, height: int, noted: str) -> None:
    result, findings = read(raw_folder(tmp_path, [image(width=width, height=height)], [box()]))
    assert in_pixels(result["a.jpg"]) == [[4, 2, 12, 10]]
    assert findings.counts["image sizes that disagree with the label file"] == bool(noted)
    assert all(noted in note and "instances.json:" in note for note in findings.notes)
    assert len(findings.notes) == bool(noted)


def test_a_damaged_image_gets_the_written_size(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, [image(), image(2, "b.jpg", width=None)], [box(), box(image_id=2)])
    settings = dataset(root)
    boxes = [coco.read_source(each, None, settings, Findings()) for each in coco.find_sources(settings, Findings())]
    assert in_pixels(boxes[0]) == [[4, 2, 12, 10]]
    assert len(boxes[1]) == 0


def test_what_the_format_claims(tmp_path: Path) -> None:
    assert not coco.claims(tmp_path)
    assert not coco.claims(tmp_path / "absent")
    (tmp_path / "labels.json").write_text('{"shapes": []}')
    assert not coco.claims(tmp_path)
    assert coco.claims(raw_folder(tmp_path, [], []))
    (tmp_path / "annotations" / "instances.json").write_text('{"images": [], "annotations": [{"broken"')
    assert coco.claims(tmp_path), "a broken file is COCO's too, and reading it says what is wrong"


def test_one_image_of_each_name_is_written(tmp_path: Path) -> None:
    assert coco.write_set(tmp_path, ["a"], []) == [tmp_path / "annotations" / "instances.json"]
    value = json.loads((tmp_path / "annotations" / "instances.json").read_text())
    assert value == {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}


def test_the_library_that_evaluation_uses_reads_what_is_written(tmp_path: Path) -> None:
    boxes = Annotation(np.array([[0.5, 0.5, 0.25, 0.5]]), np.array([1]))
    frames = [LabelledImage("s/a.jpg", 40, 20, boxes), LabelledImage("b.jpg", 40, 20, Annotation.empty())]
    (path,) = coco.write_set(tmp_path, ["größe", "polyp"], frames)
    library = COCO(str(path))
    assert [each["name"] for each in library.loadCats(library.getCatIds())] == ["größe", "polyp"]
    assert [each["file_name"] for each in library.loadImgs(library.getImgIds())] == ["s/a.jpg", "b.jpg"]
    (annotation,) = library.loadAnns(library.getAnnIds())
    assert (annotation["image_id"], annotation["category_id"], annotation["area"]) == (1, 2, 100)
    assert annotation["bbox"] == [15, 5, 10, 10]


@given(labelled_sets())
@settings(max_examples=40)
def test_written_sets_are_read_back(tmp_path_factory: pytest.TempPathFactory, frames: list[LabelledImage]) -> None:
    assert_round_trip(coco, tmp_path_factory.mktemp("cöco set"), frames)


WHOLE = text(BOTH, [box(7), box(3, [0.5, 0, 39.5, 20], "two", segmentation=[[1, 2, 3, 4, 5, 6]], iscrowd=0)], indent=2)


@given(st.data())
def test_random_damage_is_a_problem_at_most(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.getbasetemp() / "damaged coco"
    if not root.exists():
        raw_folder(root, [], [])
    path = root / "annotations" / "instances.json"
    path.write_bytes(data.draw(damaged(WHOLE)))
    coco.claims(root)
    assert_complains_in_one_line(lambda: read(root, bad_boxes="error"), str(path))
    assert_complains_in_one_line(lambda: read(root, bad_boxes="drop"), str(path))
    assert_complains_in_one_line(lambda: coco.class_names(root), str(root))
