"""YOLO label files: what is parsed, what is refused with file and line, and whole folders of them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import RawSet, read_raw_set, registry, yolo
from data_utils.formats.labels import LabelledImage
from data_utils.formats.yolo import read_labels, write_labels
from data_utils.records import Annotation, cxcywhn_to_xyxy


def label_file(folder: Path, content: bytes | str) -> Path:
    path = folder / "frame.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def picture(path: Path, size: tuple[int, int] = (40, 20), orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)
    return path


def raw_folder(root: Path, **labels: str | bytes | None) -> Path:
    for stem, content in labels.items():
        picture(root / "images" / f"{stem}.jpg")
        (root / "labels").mkdir(exist_ok=True)
        if content is not None:
            (root / "labels" / f"{stem}.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def read(root: Path, **changes: object) -> RawSet:
    values = {"raw": str(root), "nc": 2, "names": ("cyst", "polyp"), "group": "image"}
    return read_raw_set(DatasetSection.model_validate(values | changes))


# -- one file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "0 0.5 0.25 0.1 0.2\n1 0.4 0.4 0.2 0.2\n",
        "\ufeff0 0.5 0.25 0.1 0.2\n1 0.4 0.4 0.2 0.2",
        "0 0.5 0.25 0.1 0.2\r\n1 0.4 0.4 0.2 0.2\r\n",
        "\n  0\t0.5 .25   1e-1 0.2  \n\n1 0.4 0.4 0.2 2E-1   \n\n",
    ],
    ids=["plain", "byte order mark", "CRLF", "blanks"],
)
def test_harmless_spellings_are_parsed(tmp_path: Path, content: str) -> None:
    annotation = read_labels(label_file(tmp_path, content), nc=2)
    assert annotation.class_ids.tolist() == [0, 1]
    assert annotation.boxes_cxcywhn.tolist() == [[0.5, 0.25, 0.1, 0.2], [0.4, 0.4, 0.2, 0.2]]


@pytest.mark.parametrize("content", ["", "\n", "  \r\n", "\ufeff"])
def test_an_empty_file_is_a_healthy_frame(tmp_path: Path, content: str) -> None:
    assert len(read_labels(label_file(tmp_path, content), nc=1)) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "class id 2, but dataset.nc = 2 allows 0..1"),
        ("-1 0.5 0.5 0.1 0.1", "class id -1, but"),
        ("0.5 0.5 0.5 0.1 0.1", "class id '0.5' is not an integer"),
        ("1.5 0.5 0.5 0.1 0.1", "not an integer"),
        ("polyp 0.5 0.5 0.1 0.1", "'polyp' is not an integer"),
        (f"{'9' * 5000} 0.5 0.5 0.1 0.1", "not an integer"),
        ("0 nan 0.5 0.1 0.1", "NaN or infinity"),
        ("0 0.5 inf 0.1 0.1", "NaN or infinity"),
        ("0 0.5 0.5 1e999 0.1", "NaN or infinity"),
        ("0 0.5 0.5 0.1", "4 columns, expected 5"),
        ("0 0.5 0.5 0.1 0.1 0.9", "6 columns, expected 5"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2", "a polygon?"),
        ("0,0.5,0.5,0.1,0.1", "1 columns, expected 5"),
        ("0 0.5 half 0.1 0.1", "'0.5 half 0.1 0.1' are not four numbers"),
        ("0 0.5 0_5 0.1 0.1", "not four numbers"),
        ("0 0.5 0.5 0 0.1", "a box without area"),
        ("0 1.2 0.5 0.1 0.1", "a box outside the frame"),
    ],
)
def test_bad_lines_are_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = label_file(tmp_path, f"0 0.5 0.5 0.1 0.1\r\n\r\n{line}\r\n")
    with pytest.raises(InputError) as error:
        read_labels(path, nc=2)
    assert f"{path}:3: " in str(error.value)
    assert message in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02", b"\x89PNG\r\n", "0 0.5 0.5 0.1 0.1".encode("utf-16"), b"\x80\x04\x95."]
)
def test_binary_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"frame\.txt: not a text file"):
        read_labels(label_file(tmp_path, content), nc=1)


def test_absent_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.txt", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_labels(path, nc=1)


def test_edges_outside_are_clipped(tmp_path: Path) -> None:
    annotation = read_labels(label_file(tmp_path, "0 0.95 0.5 0.2 0.1"), nc=1)
    np.testing.assert_allclose(annotation.boxes_cxcywhn, [[0.925, 0.5, 0.15, 0.1]], atol=1e-12)


shares = st.floats(0.001, 0.499)


@given(st.lists(st.tuples(st.integers(0, 79), shares, shares, shares, shares), max_size=6, unique=True))
@settings(max_examples=100, deadline=None)
def test_written_labels_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]]) -> None:
    path = tmp_path_factory.getbasetemp() / "round trip.txt"
    boxes = [[low_x + w / 2, low_y + h / 2, w, h] for _, low_x, low_y, w, h in rows]
    write_labels(path, Annotation(np.array(boxes), np.array([row[0] for row in rows])))
    back = read_labels(path, nc=80)
    assert back.class_ids.tolist() == [row[0] for row in rows]
    np.testing.assert_allclose(back.boxes_cxcywhn, np.array(boxes).reshape(-1, 4), atol=1e-9)


def test_write_labels_says_whether_it_changed_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels" / "a.txt"
    assert write_labels(path, Annotation.empty())
    assert path.read_bytes() == b""
    annotation = Annotation(np.array([[0.5, 0.5, 0.25, 1 / 3]]), np.array([1]))
    assert write_labels(path, annotation)
    assert not write_labels(path, annotation)
    assert path.read_text() == "1 0.5 0.5 0.25 0.3333333333\n"


@given(st.one_of(st.binary(max_size=120), st.text(alphabet="0123456789.-+eE naif\r\n\t_\x0b\x1c", max_size=120)))
@settings(max_examples=400, deadline=None)
def test_random_files_raise_input_errors_only(tmp_path_factory: pytest.TempPathFactory, data: bytes | str) -> None:
    path = tmp_path_factory.getbasetemp() / "random.txt"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with contextlib.suppress(InputError):
        annotation = read_labels(path, nc=3)
        assert ((annotation.class_ids >= 0) & (annotation.class_ids < 3)).all()
        assert np.isfinite(annotation.boxes_cxcywhn).all()


# -- a folder of them ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["{kind}/{stem}", "{stem}", "train/{kind}/{stem}", "{kind}/train/{stem}"])
def test_layouts(tmp_path: Path, layout: str) -> None:
    for stem, label in (("a", "0 0.5 0.5 0.5 0.5"), ("b", "")):
        picture(tmp_path / (layout.format(kind="images", stem=stem) + ".jpg"))
        text = tmp_path / (layout.format(kind="labels", stem=stem) + ".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(label)
    result = read(tmp_path)
    prefix = "train_" if "train" in layout else ""
    assert [(frame.stem, len(frame.annotation)) for frame in result.frames] == [(prefix + "a", 1), (prefix + "b", 0)]
    assert result.counts == {"frames": 2, "boxes": 1, "negative frames": 1}


def test_a_missing_label_file_is_an_error_unless_background_is_allowed(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, a="0 0.5 0.5 0.5 0.5", b=None)
    with pytest.raises(InputError, match=r"b\.jpg: no label file .*dataset\.allow_background"):
        read(root)
    counts = read(root, allow_background=True).counts
    assert counts["frames without a label file, taken as healthy"] == counts["negative frames"] == 1


def test_images_without_any_labels(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no label file"):
        read(tmp_path)
    result = read(tmp_path, allow_background=True)
    assert result.counts["negative frames"] == 1
    assert any("not one of 1 frames has a box" in note for note in result.notes)


def test_a_problem_of_many_files_comes_once_with_the_first_and_their_number(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, **{f"f{number}": "0 0.5 0.5 0.1" for number in range(8)})
    with pytest.raises(InputError) as error:
        read(root)
    assert "f0.txt:1: 4 columns" in str(error.value)
    assert "f4.txt:1" in str(error.value)
    assert "f5.txt" not in str(error.value)
    assert "(8 such, " in str(error.value)
    assert "\n" not in str(error.value)


def test_class_ids_beyond_nc_name_both(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt:1: class id 5, but dataset\.nc = 2 .*dataset\.names"):
        read(raw_folder(tmp_path, a="5 0.5 0.5 0.1 0.1"))


def test_bad_boxes_are_dropped_alone_and_counted(tmp_path: Path) -> None:
    bad = "0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.0 0.2\n1 7 0.5 0.1 0.1\n0 0.5 0.5 0.2 0.2\n0 0.01 0.5 0.1 0.1\n"
    root = raw_folder(tmp_path, a=bad, b="1 0.5 0.5 0 0")
    with pytest.raises(InputError, match=r"a\.txt:2: .*also .*b\.txt:1.*a\.txt:3: "):
        read(root)
    result = read(root, bad_boxes="drop")
    assert result.counts == {
        "frames": 2, "boxes": 2, "negative frames": 1, "frames left without a box": 1, "boxes clipped to the frame": 1,
        "boxes dropped: without area": 2, "boxes dropped: outside the frame": 1, "boxes dropped: duplicates": 1,
    }  # fmt: skip


def test_labels_without_an_image_are_counted(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, a="")
    (root / "labels" / "gone.txt").write_text("")
    (root / "labels" / "classes.txt").write_text("cyst\npolyp\n")
    result = read(root)
    assert result.counts["label files without an image"] == 1
    assert any("gone.txt" in note for note in result.notes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_drawn_on_the_stored_frame_are_turned(tmp_path: Path, orientation: int) -> None:
    root = raw_folder(tmp_path, a="0 0.2 0.3 0.1 0.4")
    picture(root / "images" / "a.jpg", orientation=orientation)
    expected = {
        1: [0.2, 0.3, 0.1, 0.4], 2: [0.8, 0.3, 0.1, 0.4], 3: [0.8, 0.7, 0.1, 0.4], 4: [0.2, 0.7, 0.1, 0.4],
        5: [0.3, 0.2, 0.4, 0.1], 6: [0.7, 0.2, 0.4, 0.1], 7: [0.7, 0.8, 0.4, 0.1], 8: [0.3, 0.8, 0.4, 0.1],
    }[orientation]  # fmt: skip
    result = read(root, labels_frame="stored")
    np.testing.assert_allclose(result.frames[0].annotation.boxes_cxcywhn, [expected], atol=1e-12)
    assert result.counts["frames whose boxes were turned with their EXIF rotation"] == (orientation != 1)
    displayed = read(root).frames[0].annotation.boxes_cxcywhn
    np.testing.assert_array_equal(displayed, [[0.2, 0.3, 0.1, 0.4]])


def test_a_damaged_image_stays_for_the_decode_to_find(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, a="0 0.5 0.5 0.1 0.1")
    (root / "images" / "a.jpg").write_bytes(b"not an image")
    for frame in ("displayed", "stored"):
        assert len(read(root, labels_frame=frame).frames[0].annotation) == 1


def test_yolo_labels_are_read_without_opening_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = raw_folder(tmp_path, a="0 0.5 0.5 0.1 0.1")
    monkeypatch.setattr(registry, "read_header", lambda path: pytest.fail(f"{path} was opened"))
    assert read(root).counts["boxes"] == 1


# -- polygons, class names and lists -------------------------------------------------------------------------------


def test_polygons_are_taken_as_the_boxes_around_them(tmp_path: Path) -> None:
    text = "0 0.5 0.5 0.1 0.1\n1 0.2 0.3 0.6 0.4 0.5 0.7\n0 0.1 0.1 0.3 0.1 0.3 0.2 0.1 0.2\n"
    result = read(raw_folder(tmp_path, a=text))
    assert result.counts["polygons taken as boxes"] == 2
    boxes = result.frames[0].annotation.boxes_cxcywhn
    np.testing.assert_allclose(boxes, [[0.5, 0.5, 0.1, 0.1], [0.4, 0.5, 0.4, 0.4], [0.2, 0.15, 0.2, 0.1]], atol=1e-12)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.1 0.1 0.2 0.1 0.2 nan", "NaN or infinity"),
        ("0 0.1 0.1 0.2 0.1 0.2 x", "are not 6 numbers"),
        ("0 0.1 0.1 0.2 0.1 0.2", "6 columns, expected 5: class cx cy w h (a detection with its score? rem"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.3", "8 columns, expected 5"),
        ("5 0.1 0.1 0.2 0.1 0.2 0.2", "class id 5, but dataset.nc = 2"),
        ("0 0.1 0.1 0.2 0.1 0.3 0.1", "a box without area"),
        ("0 1e308 0.1 -1e308 0.1 0.3 0.9", "NaN or infinity"),
        ("0 9 9 9.5 9 9.5 9.5", "a box outside the frame"),
    ],
)
def test_bad_polygons_are_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read(raw_folder(tmp_path, a=f"0 0.5 0.5 0.1 0.1\n{line}\n"))
    assert f"{tmp_path / 'labels' / 'a.txt'}:2: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names: [{}, {}]"),
        ("dataset.yaml", "names: {{0: {}, 1: {}}}"),
        ("data.yml", "names: [{}, {}]"),
        ("obj.names", "{}\n{}\n"),
        ("classes.txt", "{}\n{}\n"),
        ("labels/classes.txt", "{}\n{}\n"),
    ],
)
def test_names_that_disagree_show_both(tmp_path: Path, name: str, text: str) -> None:
    root = raw_folder(tmp_path, a="1 0.5 0.5 0.1 0.1")
    (root / name).write_text(text.format("cyst", "polyp"))
    assert read(root).counts["boxes"] == 1
    assert yolo.class_names(root) == ("cyst", "polyp")
    (root / name).write_text(text.format("polyp", "cyst"))
    with pytest.raises(InputError) as error:
        read(root)
    assert f"{root / name}: names ['polyp', 'cyst'] but dataset.names = ['cyst', 'polyp']" in str(error.value)


def test_other_ways_to_disagree(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, a="1 0.5 0.5 0.1 0.1")
    (root / "data.yaml").write_text("nc: 3")
    with pytest.raises(InputError, match=r"data\.yaml: nc = 3 but dataset\.nc = 2"):
        read(root)
    (root / "data.yaml").write_text("names: [cyst, polyp]\nkpt_shape: [17, 3]")
    with pytest.raises(InputError, match=r"data\.yaml: kpt_shape: its labels are poses"):
        read(root)


def test_class_names_that_nobody_gives_or_two_give_differently(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no class names found: no data\.yaml, .* or classes\.txt; give --n"):
        yolo.class_names(tmp_path)
    for folder, name in (("a", "cyst"), ("b", "polyp")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "classes.txt").write_text(name)
    with pytest.raises(InputError, match=r"b.classes\.txt: names \['polyp'\], but .*a.classes\.txt has \['cyst'\]"):
        yolo.class_names(tmp_path)


def test_a_cvat_export_is_taken_as_it_is(tmp_path: Path) -> None:
    """CVAT's "YOLO 1.1": labels beside the images, lists that begin with data/."""
    for subset, stem, label in (("train", "a b", "1 0.5 0.5 0.1 0.1\n"), ("train", "p/n", ""), ("valid", "c", "")):
        image = picture(tmp_path / f"obj_{subset}_data" / f"{stem}.jpg")
        image.with_suffix(".txt").write_text(label)
    picture(tmp_path / "obj_train_data" / "unlisted.jpg")
    (tmp_path / "obj.names").write_text("cyst\npolyp\n")
    lists = "train = data/train.txt\nvalid = data/valid.txt\n"
    (tmp_path / "obj.data").write_text(f"classes = 2\n{lists}names = data/obj.names\nbackup = backup/\n")
    (tmp_path / "train.txt").write_text("data/obj_train_data/a b.jpg\ndata/obj_train_data/p/n.jpg\n")
    (tmp_path / "valid.txt").write_text("data/obj_valid_data/c.jpg\n")
    result = read(tmp_path)
    assert {frame.stem: len(frame.annotation) for frame in result.frames} == {
        "obj_train_data_a b": 1, "obj_train_data_p_n": 0, "obj_valid_data_c": 0,
    }  # fmt: skip
    assert result.counts["images that no list names, left out"] == 1
    (tmp_path / "obj_train_data" / "a b.jpg").unlink()
    with pytest.raises(InputError, match=r"not there: .*train\.txt:1: 'data/obj_train_data/a b\.jpg'; put them"):
        read(tmp_path)


@pytest.mark.parametrize(
    "lists", ["train: train.txt\nval: val.txt", "train: [images/train, images/val]", "train: images"]
)
@pytest.mark.parametrize("top", ["", "export"])
def test_an_ultralytics_export_is_taken_as_it_is(tmp_path: Path, lists: str, top: str) -> None:
    root = tmp_path / top
    for part in ("train", "val"):
        picture(root / "images" / part / "x.jpg")
        (root / "labels" / part).mkdir(parents=True)
        (root / "labels" / part / "x.txt").write_text("0 0.5 0.5 0.1 0.1\n")
        (root / f"{part}.txt").write_text(f"images/{part}/x.jpg\n")
    (root / "data.yaml").write_text(f"path: ./\n{lists}\nnames:\n  0: cyst\n  1: polyp\n")
    result = read(tmp_path)
    assert (result.counts["frames"], result.counts["boxes"], result.notes) == (2, 2, ())


def test_a_list_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    root = raw_folder(tmp_path / "raw", a="0 0.5 0.5 0.1 0.1")
    picture(tmp_path / "secret.jpg")
    (root / "data.yaml").write_text("train: list.txt\nnames: [cyst, polyp]\n")
    (root / "list.txt").write_text("images/a.jpg\n../secret.jpg\n")
    with pytest.raises(InputError, match=r"list\.txt:2: '\.\./secret\.jpg' leads out of"):
        read(root)


def test_an_alias_bomb_is_refused_by_file_and_line(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, a="0 0.5 0.5 0.1 0.1")
    (root / "data.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nnames: *b\n")
    with pytest.raises(InputError, match=r"data\.yaml:2: YAML aliases"):
        read(root)


@given(st.lists(st.tuples(st.integers(0, 1), shares, shares, shares, shares), max_size=6, unique=True))
@settings(max_examples=20, deadline=None)
def test_written_sets_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, ...]]) -> None:
    root = tmp_path_factory.mktemp("yolo set")
    boxes = np.array([[low_x + w / 2, low_y + h / 2, w, h] for _, low_x, low_y, w, h in rows]).reshape(-1, 4)
    annotation = Annotation(boxes, np.array([row[0] for row in rows], dtype=np.int64))
    frames = [LabelledImage("ä b/x.1.jpg", 40, 20, annotation), LabelledImage("n.jpg", 40, 20, Annotation.empty())]
    written = yolo.write_set(root, ("no", "Zyste ä"), frames)
    assert written == [root / "data.yaml", root / "labels" / "ä b" / "x.1.txt", root / "labels" / "n.txt"]
    assert written[2].read_bytes() == b""
    for frame in frames:
        picture(root / "images" / frame.inner)
    assert yolo.class_names(root) == ("no", "Zyste ä")
    back = {frame.stem: frame.annotation for frame in read(root, names=("no", "Zyste ä")).frames}
    assert len(back["n"]) == 0
    assert back["ä b_x.1"].class_ids.tolist() == annotation.class_ids.tolist()
    pixels = [cxcywhn_to_xyxy(each.boxes_cxcywhn, 40, 20) for each in (back["ä b_x.1"], annotation)]
    np.testing.assert_allclose(pixels[0], pixels[1], atol=1e-6)


def test_two_images_cannot_share_a_label_file(tmp_path: Path) -> None:
    frames = [LabelledImage(name, 40, 20, Annotation.empty()) for name in ("a.jpg", "A.png")]
    with pytest.raises(InputError, match=r"A\.png: its label file would be"):
        yolo.write_set(tmp_path, ("cyst",), frames)
    assert list(tmp_path.iterdir()) == []


DATA = "path: .\ntrain: list.txt\nval: [images, images]\nnc: 2\nnames:\n  0: cyst\n  1: polyp\n"


@pytest.mark.parametrize("name", ["data.yaml", "list.txt", "obj.names", "labels/a.txt"])
@given(st.lists(st.tuples(st.integers(0, 80), st.text(max_size=3)), max_size=4), st.none() | st.binary(max_size=60))
@settings(max_examples=40, deadline=None)
def test_random_folders_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[int, str]], data: bytes | None
) -> None:
    root = tmp_path_factory.getbasetemp() / f"random {name.replace('/', ' ')}"
    raw_folder(root, a="0 0.5 0.5 0.1 0.1\n")
    whole = {"data.yaml": DATA, "list.txt": "images/a.jpg\n"}
    if name == "obj.names":
        whole = {"obj.names": "cyst\npolyp\n", "train.txt": "data/images/a.jpg\n"}
    elif name == "labels/a.txt":
        whole[name] = "0 0.5 0.5 0.1 0.1\n1 0.2 0.3 0.6 0.4 0.5 0.7\n"
    text = whole[name]
    for position, inserted in edits:
        text = text[:position] + inserted + text[position + len(inserted) :]
    for other, content in whole.items():
        (root / other).write_text(content)
    (root / name).write_bytes(text.encode("utf-8", "surrogatepass") if data is None else data)
    message = name
    try:
        read(root, format="yolo", bad_boxes="drop")
    except InputError as error:
        message = str(error)
    assert name in message


@pytest.mark.parametrize("text", ["0", "0.0", "0.", "+0", "0.000e+00", "0.000000000000000000e+00", "0e0", "-0.0"])
def test_class_ids_that_are_integers_in_value_are_taken(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(f"{text} 0.5 0.5 0.1 0.1\n")
    assert read_labels(tmp_path / "a.txt", 1).class_ids.tolist() == [0]


@pytest.mark.parametrize("text", ["0.5", "1e400", "nan", "inf", "0x0", "0_0", "zero", "1e-3", "\u0660"])
def test_class_ids_that_are_not_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{text} 0.5 0.5 0.1 0.1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.txt"):
        read_labels(tmp_path / "a.txt", 1)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".TiF", ".TIFF", ".Jpeg", ".bMp"])
def test_pictures_are_known_by_any_case_of_their_suffix(tmp_path: Path, suffix: str) -> None:
    kind = {".jfif": ".jpg", ".jpe": ".jpg", ".tif": ".tiff"}.get(suffix.lower(), suffix.lower())
    (tmp_path / "images").mkdir()
    cv2.imencode(kind, np.zeros((20, 40, 3), np.uint8))[1].tofile(tmp_path / "images" / f"a{suffix}")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (frame,) = read(tmp_path).frames
    assert len(frame.annotation) == 1
