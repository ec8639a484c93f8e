"""Pascal VOC annotations: corners, sizes, names, hostile XML, and the real BCCD set."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import RawSet, read_raw_set, voc
from data_utils.formats.labels import LabelledImage
from data_utils.records import Annotation, cxcywhn_to_xyxy

BCCD_NAMES = ("RBC", "WBC", "Platelets")


def xml_object(name: str = "cyst", corners: tuple[object, ...] = (4, 2, 12, 10), extra: str = "") -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    return (
        f"  <object>\n    <name>{name}</name>{extra}\n    <bndbox>\n"
        + "".join(f"      <{tag}>{value}</{tag}>\n" for tag, value in tags)
        + "    </bndbox>\n  </object>\n"
    )


def annotation(*objects: str, size: tuple[int, int] | None = (40, 20)) -> str:
    written = f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>\n" if size else ""
    return "<annotation>\n" + written + "".join(objects) + "</annotation>\n"


def raw_folder(root: Path, orientation: int = 1, **annotations: str | bytes) -> Path:
    """Make JPEGImages/<stem>.jpg of 40x20 stored pixels and Annotations/<stem>.xml."""
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, content in annotations.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (40, 20)).save(root / "JPEGImages" / f"{stem}.jpg", exif=exif)
        data = content if isinstance(content, bytes) else content.encode()
        (root / "Annotations" / f"{stem}.xml").write_bytes(data)
    return root


def read(root: Path, **changes: object) -> RawSet:
    values = {"raw": str(root), "nc": 2, "names": ("cyst", "Polyp"), "group": "image"}
    return read_raw_set(DatasetSection.model_validate(values | changes))


def test_corners_become_shares_of_the_frame(tmp_path: Path) -> None:
    objects = (xml_object(), xml_object("Polyp", ("10.5", " 0 ", "40.0", "2e1")))
    boxes = read(raw_folder(tmp_path, a=annotation(*objects))).frames[0].annotation
    assert boxes.class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(
        boxes.boxes_cxcywhn, [[8 / 40, 6 / 20, 8 / 40, 8 / 20], [25.25 / 40, 0.5, 29.5 / 40, 1]], atol=1e-12
    )


def test_no_object_is_a_negative_frame(tmp_path: Path) -> None:
    assert read(raw_folder(tmp_path, a=annotation())).counts == {"frames": 1, "boxes": 0, "negative frames": 1}


def test_files_side_by_side(tmp_path: Path) -> None:
    raw_folder(tmp_path / "made", a=annotation(xml_object()))
    flat = tmp_path / "flat folder"
    flat.mkdir()
    for path in (tmp_path / "made").rglob("a.*"):
        path.rename(flat / path.name)
    assert read(flat).counts["boxes"] == 1


def test_byte_order_mark_crlf_and_other_encodings_are_parsed(tmp_path: Path) -> None:
    text = annotation(xml_object("Zyste é"))
    encoded = {
        "bom": b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
        "latin": b'<?xml version="1.0" encoding="ISO-8859-1"?>' + text.encode("latin-1"),
        "utf16": ('<?xml version="1.0" encoding="UTF-16"?>' + text).encode("utf-16"),
    }
    assert read(raw_folder(tmp_path, **encoded), names=("Zyste é", "Polyp")).counts["boxes"] == 3


def test_difficult_objects_are_kept_and_counted(tmp_path: Path) -> None:
    objects = (xml_object(extra="<difficult>1</difficult>"), xml_object("Polyp", extra="<difficult>0</difficult>"))
    counts = read(raw_folder(tmp_path, a=annotation(*objects))).counts
    assert (counts["boxes"], counts["boxes marked difficult, kept"]) == (2, 1)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (xml_object("polyp"), "class 'polyp' is not among dataset.names ['cyst', 'Polyp'], did you mean 'Polyp'?"),
        (xml_object("cysts"), "did you mean 'cyst'?"),
        (xml_object("xyz"), "class 'xyz' is not among"),
        (xml_object(corners=("four", 2, 12, 10)), "box corners must be numbers: xmin = four"),
        (xml_object(corners=("nan", 2, 12, 10)), "box corners must be numbers: xmin = nan"),
        (xml_object(corners=(4, 2, "1e300", 10)), "box corners must be numbers"),
        ("  <object><name>cyst</name></object>\n", "an object without <bndbox>"),
        (xml_object(corners=(4, 2, 4, 10)), "a box without area"),
        (xml_object(corners=(12, 2, 4, 10)), "a box without area"),
        (xml_object(corners=(50, 2, 60, 10)), "a box outside the frame"),
    ],
)
def test_bad_objects_are_named_with_file_and_line(tmp_path: Path, second: str, message: str) -> None:
    root = raw_folder(tmp_path, a=annotation(xml_object(), second))
    with pytest.raises(InputError) as error:
        read(root)
    assert f"{root / 'Annotations' / 'a.xml'}:12: " in str(error.value)
    assert message in str(error.value)


def test_edges_outside_are_clipped_and_bad_boxes_dropped(tmp_path: Path) -> None:
    corners = ((-4, 2, 12, 10), (7, 7, 7, 7), (50, 2, 60, 9))
    objects = [xml_object(corners=each) for each in corners]
    result = read(raw_folder(tmp_path, a=annotation(*objects)), bad_boxes="drop")
    np.testing.assert_allclose(result.frames[0].annotation.boxes_cxcywhn, [[0.15, 0.3, 0.3, 0.4]], atol=1e-12)
    assert result.counts == {
        "frames": 1, "boxes": 1, "negative frames": 0, "boxes clipped to the frame": 1,
        "boxes dropped: without area": 1, "boxes dropped: outside the frame": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("size", "noted"), [((40, 20), ""), (None, ""), ((0, 0), ""), ((80, 40), "80x40"), ((20, 40), "swapped")]
)
def test_the_size_comes_from_the_image(tmp_path: Path, size: tuple[int, int] | None, noted: str) -> None:
    result = read(raw_folder(tmp_path, a=annotation(xml_object(), size=size)))
    np.testing.assert_allclose(result.frames[0].annotation.boxes_cxcywhn, [[0.2, 0.3, 0.2, 0.4]], atol=1e-12)
    assert result.counts["image sizes that disagree with the label file"] == bool(noted)
    assert len(result.notes) == bool(noted)
    assert all(noted in note and "a.xml" in note for note in result.notes)


def test_a_damaged_image_stays_with_the_size_its_xml_says(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, a=annotation(xml_object()), b=annotation(xml_object(), size=None))
    for stem in "ab":
        (root / "JPEGImages" / f"{stem}.jpg").write_bytes(b"\xff\xd8\xff")
    result = read(root)
    assert [len(frame.annotation) for frame in result.frames] == [1, 0]
    assert result.counts["frames with a damaged header, left to the decode"] == 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_rotated_files(tmp_path: Path, orientation: int) -> None:
    """Stored 40x20; the box is drawn on the stored frame, then on the displayed one."""
    root = raw_folder(tmp_path / "stored", orientation, a=annotation(xml_object()))
    expected = {
        1: [0.2, 0.3, 0.2, 0.4], 2: [0.8, 0.3, 0.2, 0.4], 3: [0.8, 0.7, 0.2, 0.4], 4: [0.2, 0.7, 0.2, 0.4],
        5: [0.3, 0.2, 0.4, 0.2], 6: [0.7, 0.2, 0.4, 0.2], 7: [0.7, 0.8, 0.4, 0.2], 8: [0.3, 0.8, 0.4, 0.2],
    }[orientation]  # fmt: skip
    boxes = read(root, labels_frame="stored").frames[0].annotation.boxes_cxcywhn
    np.testing.assert_allclose(boxes, [expected], atol=1e-12)

    width, height = (40, 20) if orientation < 5 else (20, 40)
    root = raw_folder(tmp_path / "displayed", orientation, a=annotation(xml_object(), size=(width, height)))
    result = read(root)
    np.testing.assert_allclose(
        result.frames[0].annotation.boxes_cxcywhn, [[8 / width, 6 / height, 8 / width, 8 / height]], atol=1e-12
    )
    assert result.notes == ()


ENTITIES = '<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>'
BOMB = ENTITIES + "<annotation><object><name>&b;</name></object></annotation>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB.encode(), "DOCTYPE is not accepted"),
        (BOMB.encode("utf-16"), "DOCTYPE is not accepted"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "DOCTYPE is not accepted"),
        (b"<annotation><name>&undefined;</name></annotation>", ":1: not well-formed XML"),
        (b"<annotation>\n<object>\n</annotation>", ":3: not well-formed XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', ":1: unknown encoding"),
        (b"", ":1: not well-formed XML"),
        (b"\x00\x01binary", ":1: not well-formed XML"),
    ],
)
def test_hostile_and_broken_xml_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    root = raw_folder(tmp_path, a=content, b=annotation(xml_object("unknown")))
    with pytest.raises(InputError) as error:
        read(root)
    assert "a.xml:" in str(error.value)
    assert message in str(error.value)
    assert "b.xml" in str(error.value), "one message for the whole set"
    assert "\n" not in str(error.value)


def test_deep_nesting_does_no_harm(tmp_path: Path) -> None:
    depth = 50_000
    nested = "<a>" * depth + "</a>" * depth
    assert read(raw_folder(tmp_path, a=annotation(nested, xml_object()))).counts["boxes"] == 1


WHOLE = annotation(xml_object(), xml_object("Polyp", (1.5, 2, 30, 19)))


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.text(max_size=3)), max_size=5), st.binary(max_size=20))
@settings(max_examples=200, deadline=None)
def test_random_edits_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, str]], tail: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "random voc"
    if not root.exists():
        raw_folder(root, a=WHOLE)
    text = WHOLE
    for position, inserted in edits:
        text = text[:position] + inserted + text[position + len(inserted) :]
    (root / "Annotations" / "a.xml").write_bytes(text.encode("utf-8", "surrogatepass") + tail)
    with contextlib.suppress(InputError):
        boxes = read(root, format="voc").frames[0].annotation.boxes_cxcywhn
        assert np.isfinite(boxes).all()


def test_the_whole_of_bccd_is_read(shared_data: Path) -> None:
    bccd = {"raw": str(shared_data / "bccd"), "nc": 3, "names": BCCD_NAMES}
    result = read(shared_data, **bccd, bad_boxes="drop")
    assert result.counts == {"frames": 364, "boxes": 4886, "negative frames": 0, "boxes dropped: without area": 2}
    with pytest.raises(InputError, match=r"BloodImage_00338\.xml:158: a box without area.*BloodImage_00343\.xml:50"):
        read(shared_data, **bccd)


@pytest.mark.parametrize(
    "content", ["<annotations><image/></annotations>", "<html/>", '<annotation xmlns="http://x"></annotation>']
)
def test_another_kind_of_xml_is_no_healthy_frame(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"a\.xml: begins with <.*>, expected Pascal VOC's <annotation>"):
        read(raw_folder(tmp_path, a=content), format="voc")


def test_class_names_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no class names found: no labelled object, and no classes\.txt"):
        voc.class_names(tmp_path)
    objects = (xml_object("Polyp"), xml_object("cyst ä"), xml_object("Polyp"))
    raw_folder(tmp_path, a=annotation(*objects), b=annotation())
    assert voc.class_names(tmp_path) == ("Polyp", "cyst ä")
    (tmp_path / "classes.txt").write_text("\ufeffcyst ä\nPolyp\n", encoding="utf-8")
    assert voc.class_names(tmp_path) == ("cyst ä", "Polyp")
    colours = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nz:1,2,3::\na: b:1,2,4::\n"
    (tmp_path / "labelmap.txt").write_text(colours)
    assert voc.class_names(tmp_path) == ("z", "a: b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# only this\nbackground:0,0,0::\n", "labelmap.txt: no classes in it"),
        (b"a:::\nb:::\na:::\n", "labelmap.txt:3: class 'a' stands twice"),
        (b"\xff\xfe", "labelmap.txt: not UTF-8 text"),
    ],
)
def test_bad_lists_of_classes(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labelmap.txt").write_bytes(content)
    with pytest.raises(InputError) as error:
        voc.class_names(tmp_path)
    assert message in str(error.value)


def test_class_names_of_broken_files(tmp_path: Path) -> None:
    raw_folder(tmp_path, a="<annotation><object>")
    with pytest.raises(InputError, match=r"a\.xml:1: not well-formed"):
        voc.class_names(tmp_path)


corners = st.tuples(st.floats(0, 39), st.floats(0, 19), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 1))


@given(st.lists(corners, max_size=5, unique=True))
@settings(max_examples=20, deadline=None)
def test_written_sets_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, ...]]) -> None:
    root, names = tmp_path_factory.mktemp("voc set"), ("Zyste <ä>", "no")
    boxes = np.array([((x + w / 2) / 40, (y + h / 2) / 20, w / 40, h / 20) for x, y, w, h, _ in rows]).reshape(-1, 4)
    labels = Annotation(boxes, np.array([row[4] for row in rows], dtype=np.int64))
    frames = [LabelledImage("ä & b/x.1.jpg", 40, 20, labels), LabelledImage("n.jpg", 40, 20, Annotation.empty())]
    assert voc.write_set(root, names, frames) == [
        root / "classes.txt", root / "Annotations" / "ä & b" / "x.1.xml", root / "Annotations" / "n.xml",
    ]  # fmt: skip
    for frame in frames:
        (root / "JPEGImages" / frame.inner).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(root / "JPEGImages" / frame.inner)
    assert voc.class_names(root) == names
    result = read(root, names=names)
    assert result.notes == () or not rows
    back = {frame.stem: frame.annotation for frame in result.frames}
    assert len(back["n"]) == 0
    assert back["ä & b_x.1"].class_ids.tolist() == labels.class_ids.tolist()
    pixels = [cxcywhn_to_xyxy(each.boxes_cxcywhn, 40, 20) for each in (back["ä & b_x.1"], labels)]
    np.testing.assert_allclose(pixels[0], pixels[1], atol=1e-6)


def test_whole_pixels_are_written_without_a_point(tmp_path: Path) -> None:
    boxes = Annotation(np.array([[0.2, 0.3, 0.2, 0.4], [0.5, 0.5, 1 / 3, 1]]), np.array([0, 0]))
    voc.write_set(tmp_path, ("cyst",), [LabelledImage("a.jpg", 40, 20, boxes)])
    text = (tmp_path / "Annotations" / "a.xml").read_text()
    assert "<xmin>4</xmin><ymin>2</ymin><xmax>12</xmax><ymax>10</ymax>" in text
    assert "<xmin>13.33333333</xmin>" in text
    assert "<width>40</width><height>20</height>" in text


def test_nothing_is_written_for_names_that_do_not_fit(tmp_path: Path) -> None:
    boxes = Annotation(np.array([[0.2, 0.3, 0.2, 0.4]]), np.array([0]))
    with pytest.raises(InputError, match="rename it"):
        voc.write_set(tmp_path, ("bell \x07",), [LabelledImage("a.jpg", 40, 20, boxes)])
    assert list(tmp_path.iterdir()) == []
