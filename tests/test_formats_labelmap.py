"""Label maps: components by hand, mask kinds, wrong sizes, and the real larynx set."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from format_samples import Read, dataset, in_pixels, labelled_sets
from format_samples import read as read_with
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import RawSet, labelmap, read_raw_set
from data_utils.formats.labelmap import component_boxes, mask_values, read_mask, write_mask_set, write_set
from data_utils.formats.labels import Findings, LabelledImage
from data_utils.records import Annotation, cxcywhn_to_xyxy, xyxy_to_cxcywhn


def raw_folder(root: Path, masks: dict[str, np.ndarray | Image.Image | None], orientation: int = 1) -> Path:
    """Make img/<name>.jpg of 40x20 stored pixels and annot/<name>.png."""
    for name, mask in masks.items():
        image, target = root / "img" / f"{name}.jpg", root / "annot" / f"{name}.png"
        for path in (image, target):
            path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (40, 20)).save(image, exif=exif)
        if mask is not None:
            (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(target)
    return root


def read(root: Path, values: dict[int, str] | None = None, min_area: int = 1, **changes: object) -> RawSet:
    base = {"raw": str(root), "nc": 2, "names": ("cyst", "polyp"), "group": "image"}
    labelmap = {"values": values or {4: "polyp"}, "min_area": min_area}
    return read_raw_set(DatasetSection.model_validate(base | {"labelmap": labelmap} | changes))


def empty_mask() -> np.ndarray:
    return np.zeros((20, 40), np.uint8)


def test_each_component_of_each_value_is_a_box(tmp_path: Path) -> None:
    mask = empty_mask()
    mask[2:6, 4:12] = 4
    mask[10:12, 20:24] = 4
    mask[0:3, 30:40] = 1
    mask[15:20, 0:5] = 7  # not listed
    result = read(raw_folder(tmp_path, {"a": mask}), {4: "polyp", 1: "cyst"})
    boxes = result.frames[0].annotation
    assert boxes.class_ids.tolist() == [0, 1, 1]
    in_pixels = boxes.boxes_cxcywhn * [40, 20, 40, 20]
    np.testing.assert_allclose(in_pixels, [[35, 1.5, 10, 3], [8, 4, 8, 4], [22, 11, 4, 2]], atol=1e-12)


def test_diagonal_pixels_are_one_component_and_small_ones_are_dropped() -> None:
    region = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1]], bool)
    findings = Findings()
    assert sorted(component_boxes(region, 1, findings)) == [[0, 0, 3, 3], [4, 0, 5, 1], [4, 2, 5, 3]]
    assert +findings.counts == {}
    assert component_boxes(region, 2, findings) == [[0, 0, 3, 3]]
    assert findings.counts == {"mask components dropped: below labelmap.min_area": 2}
    assert component_boxes(np.zeros((3, 5), bool), 1, findings) == []


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=100, deadline=None)
def test_components_equal_scipys(region: np.ndarray) -> None:
    labelled, _ = ndimage.label(region, structure=np.ones((3, 3)))
    expected = [[x.start, y.start, x.stop, y.stop] for y, x in ndimage.find_objects(labelled)]
    assert sorted(component_boxes(region, 1, Findings())) == sorted(expected)


def test_mask_kinds_give_the_same_values(tmp_path: Path) -> None:
    mask = empty_mask()
    mask[2:6, 4:12] = 4
    palette = Image.fromarray(mask, "P")
    palette.putpalette([value for index in range(256) for value in (index * 7 % 256, 255 - index, 9)])
    grey, opaque = Image.fromarray(mask), Image.new("L", (40, 20), 255)
    kinds = {
        "grey": grey,
        "sixteen bit": mask.astype(np.uint16),
        "colour": Image.merge("RGB", [grey] * 3),
        "with alpha": Image.merge("RGBA", [grey, grey, grey, opaque]),
        "palette": palette,
    }
    result = read(raw_folder(tmp_path, kinds))
    for frame in result.frames:
        np.testing.assert_allclose(
            frame.annotation.boxes_cxcywhn, [[0.2, 0.2, 0.2, 0.2]], atol=1e-12, err_msg=frame.stem
        )
    assert result.counts["boxes"] == 5


def test_black_and_white_masks(tmp_path: Path) -> None:
    mask = empty_mask()
    mask[2:6, 4:12] = 255
    result = read(raw_folder(tmp_path, {"grey": mask, "one bit": Image.fromarray(mask).convert("1")}), {255: "cyst"})
    assert [len(frame.annotation) for frame in result.frames] == [1, 1]


def test_a_mask_in_colour_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((20, 40, 3), np.uint8)
    mask[2:6, 4:12] = (255, 0, 0)
    with pytest.raises(InputError, match=r"a\.png: a mask in colour"):
        read(raw_folder(tmp_path, {"a": mask}))


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": np.zeros((10, 20), np.uint8)})
    with pytest.raises(InputError) as error:
        read(root)
    assert f"{root / 'annot' / 'a.png'}: 20x10 pixels, but {root / 'img' / 'a.jpg'} has 40x20" in str(error.value)


def test_no_listed_value_is_a_negative_frame_and_noted(tmp_path: Path) -> None:
    result = read(raw_folder(tmp_path, {"a": empty_mask() + np.uint8(3)}))
    unnamed = "label maps with value 3, which labelmap.values does not name: taken as background"
    assert result.counts == {"frames": 1, "boxes": 0, "negative frames": 1, unnamed: 1}
    assert any("a.png: holds the value 3" in note for note in result.notes)
    assert any("has a box" in note for note in result.notes)


def test_a_missing_mask_obeys_allow_background(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": empty_mask(), "sub/b": None})
    with pytest.raises(InputError, match=r"sub/b\.jpg: no label file"):
        read(root)
    assert [frame.stem for frame in read(root, allow_background=True).frames] == ["a", "sub_b"]


def test_missing_folders_name_the_key(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": empty_mask()})
    for key in ("images", "masks"):
        with pytest.raises(InputError, match=rf"nowhere: no such folder; set dataset\.labelmap\.{key}"):
            read(root, labelmap={"values": {4: "polyp"}, key: "nowhere"})
    with pytest.raises(InputError, match=r"dataset\.labelmap\.values is empty"):
        read(root, labelmap={}, format="labelmap")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_of_rotated_files(tmp_path: Path, orientation: int) -> None:
    stored = empty_mask()
    stored[2:10, 4:12] = 4
    expected = {
        1: [0.2, 0.3, 0.2, 0.4], 2: [0.8, 0.3, 0.2, 0.4], 3: [0.8, 0.7, 0.2, 0.4], 4: [0.2, 0.7, 0.2, 0.4],
        5: [0.3, 0.2, 0.4, 0.2], 6: [0.7, 0.2, 0.4, 0.2], 7: [0.7, 0.8, 0.4, 0.2], 8: [0.3, 0.8, 0.4, 0.2],
    }[orientation]  # fmt: skip
    root = raw_folder(tmp_path / "stored", {"a": stored}, orientation)
    boxes = read(root, labels_frame="stored").frames[0].annotation.boxes_cxcywhn
    np.testing.assert_allclose(boxes, [expected], atol=1e-12)
    if orientation >= 5:
        with pytest.raises(InputError, match=r"40x20 pixels.*20x40.*dataset\.labels_frame"):
            read(root)
        stored = np.ascontiguousarray(stored.T)
    displayed = read(raw_folder(tmp_path / "displayed", {"a": stored}, orientation)).frames[0].annotation
    expected = [0.2, 0.3, 0.2, 0.4] if orientation < 5 else [0.3, 0.2, 0.4, 0.2]
    np.testing.assert_allclose(displayed.boxes_cxcywhn, [expected], atol=1e-12)


@pytest.mark.parametrize("content", [b"", b"no mask", b"\xff\xd8\xff\xe0 jpeg"])
def test_what_is_no_mask(tmp_path: Path, content: bytes) -> None:
    root = raw_folder(tmp_path, {"a": empty_mask()})
    (root / "annot" / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"annot/a\.png: "):
        read(root)


def test_a_truncated_mask_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 5, (40, 40), dtype=np.uint8)).save(path)
    for share in (0.3, 0.6, 0.95):
        cut = tmp_path / "cut.png"
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(InputError, match=r"cut\.png: damaged"):
            read_mask(cut)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5))
@settings(max_examples=150, deadline=None)
def test_random_edits_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.getbasetemp() / "random masks"
    if not root.exists():
        raw_folder(root, {"a": empty_mask()})
        (root / "whole.png").write_bytes((root / "annot" / "a.png").read_bytes())
    data = bytearray((root / "whole.png").read_bytes())
    for position, value in edits:
        data[position % len(data)] = value
    (root / "annot" / "a.png").write_bytes(data)
    with contextlib.suppress(InputError):
        assert read(root).counts["frames"] == 1


def test_the_whole_larynx_set_is_read(shared_data: Path) -> None:
    result = read(
        shared_data / "vocalfolds", {4: "lesion"}, 16, nc=1, names=("lesion",), group="sequence",
        group_pattern=r"(?P<patient>patient\d+)/(?P<sequence>seq\d+)",
    )  # fmt: skip
    assert result.counts["frames"] == 347
    with_lesion = {frame.group for frame in result.frames if len(frame.annotation)}
    assert with_lesion == {"patient1/seq1", "patient1/seq2"}  # as the set's description says
    assert len({frame.group for frame in result.frames}) == 8
    assert result.frames[0].stem == "patient1_seq1_0001"


def read_masks(
    root: Path, size: tuple[int, int] | dict[str, tuple[int, int]] = (40, 20), **section: object
) -> tuple[Read, Findings]:
    settings = dataset(root, format="mask", nc=1, names=("lesion",), labelmap={"min_area": 1, **section})
    return read_with(labelmap, settings, size)


def spot(value: int = 255, kind: type = np.uint8) -> np.ndarray:
    """A mask of 40x20 pixels with one region, x 4 to 12 and y 2 to 6."""
    mask = np.zeros((20, 40), kind)
    mask[2:6, 4:12] = value
    return mask


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".bmp", ".tif", ".webp"])
def test_black_and_white_masks_of_every_kind(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "sub/b c"):
        for folder, ending in (("img", ".jpg"), ("annot", suffix)):
            path = tmp_path / folder / f"{name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            options = {"lossless": True} if suffix == ".webp" else {}
            Image.fromarray(spot()).save(path, **options)
    result, findings = read_masks(tmp_path)
    assert {inner: in_pixels(boxes) for inner, boxes in result.items()} == {
        "a.jpg": [[4, 2, 12, 6]], "sub/b c.jpg": [[4, 2, 12, 6]],
    }  # fmt: skip
    assert (findings.problems, findings.notes, +findings.counts) == ([], [], {})


def test_black_and_white_mask_layouts(tmp_path: Path) -> None:
    """Red counts by its brightest channel; a palette by its colours; 16 bit over the whole range."""
    red = np.zeros((20, 40, 3), np.uint8)
    red[2:6, 4:12, 0] = 200
    palette = Image.fromarray(spot(1), "P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    masks = {"red": red, "palette": palette, "one bit": Image.fromarray(spot()).convert("1"),
             "sixteen bit": spot(65535, np.uint16), "healthy": empty_mask(), "threshold": spot(128)}  # fmt: skip
    result, findings = read_masks(raw_folder(tmp_path, masks))
    for name in masks:
        assert in_pixels(result[f"{name}.jpg"]) == ([] if name == "healthy" else [[4, 2, 12, 6]]), name
    assert +findings.counts == {}


def test_grey_noise_below_the_threshold_is_nothing_and_touching_corners_are_one_box(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 128, (20, 40), dtype=np.uint8)
    mask[2:6, 4:12] = 255
    mask[6:8, 12:14] = 255
    result, _ = read_masks(raw_folder(tmp_path, {"a": mask}))
    assert in_pixels(result["a.jpg"]) == [[4, 2, 14, 8]]


@pytest.mark.parametrize("value", [1, 2, 100])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_of_small_values_are_read_by_their_own_range(tmp_path: Path, value: int, dtype: type) -> None:
    root = raw_folder(tmp_path, {"a": spot(value, dtype), "healthy": empty_mask().astype(dtype)})
    result, findings = read_masks(root)
    assert in_pixels(result["a.jpg"]) == [[4, 2, 12, 6]]
    assert in_pixels(result["healthy.jpg"]) == []
    assert +findings.counts == {"black and white masks of small values, read by their own range": 1}


def test_a_mask_of_several_small_values_is_refused_unless_it_is_said(tmp_path: Path) -> None:
    mask = spot(1)
    mask[10:12, 10:20] = 2
    root = raw_folder(tmp_path, {"a": mask})
    _, findings = read_masks(root)
    assert "a.png: not black, yet its brightest pixel is 2" in findings.problems[0]
    assert "dataset.labelmap.threshold" in findings.problems[0]
    assert in_pixels(read_masks(root, threshold=1)[0]["a.jpg"])[0] == [4, 2, 12, 6]


def test_masks_with_a_suffix_may_lie_among_the_frames(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": None, "b": None})
    Image.fromarray(spot()).save(root / "img" / "a_mask.png")
    Image.fromarray(spot()).save(root / "img" / "gone_mask.png")
    result, findings = read_masks(root, masks="img", mask_suffix="_mask")
    assert set(result) == {"a.jpg", "b.jpg"}
    assert in_pixels(result["a.jpg"]) == [[4, 2, 12, 6]]
    assert result["b.jpg"] is None
    assert +findings.counts == {"label files without an image": 1}
    with pytest.raises(InputError, match=r"frames and masks in one folder; set dataset\.labelmap\.mask_suffix"):
        read_masks(root, masks="img")


def test_two_masks_of_one_frame_and_more_than_one_class(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": spot()})
    Image.fromarray(spot()).save(root / "annot" / "a.bmp")
    _, findings = read_masks(root)
    assert "a.jpg: has 2 masks, a.bmp and a.png" in findings.problems[0]
    with pytest.raises(InputError, match=r"dataset\.format = mask makes boxes of one class, but .* lists 2"):
        read_with(labelmap, dataset(root, format="mask"))


def test_label_maps_stay_png(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"a": None})
    Image.fromarray(spot(4)).save(root / "annot" / "a.bmp")
    with pytest.raises(InputError, match=r"a\.jpg: no label file"):
        read(root, format="labelmap")
    Image.fromarray(spot(4)).save(root / "annot" / "a_seg.png")
    assert read(root, labelmap={"values": {4: "polyp"}, "mask_suffix": "_seg"}).counts["boxes"] == 1


def test_what_the_format_claims_and_cannot_say(tmp_path: Path) -> None:
    assert not labelmap.claims(tmp_path)
    assert labelmap.claims(raw_folder(tmp_path, {"a": spot()}))
    with pytest.raises(InputError, match="masks hold no class names"):
        labelmap.class_names(tmp_path)


@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_random_masks_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, edits: list[tuple[int, int]]
) -> None:
    root = tmp_path_factory.getbasetemp() / "random black and white"
    if not root.exists():
        raw_folder(root, {"a": None})
        Image.fromarray(spot()).save(root / "whole.jpg")
    data = bytearray((root / "whole.jpg").read_bytes() if edits else content)
    for position, value in edits:
        data[position % len(data)] = value
    (root / "annot" / "a.jpg").write_bytes(data)
    _, findings = read_masks(root)
    assert all(str(root / "annot" / "a.jpg") in problem for problem in findings.problems)


def labelled(*corners: tuple[float, ...], class_ids: tuple[int, ...] | None = None) -> LabelledImage:
    boxes = xyxy_to_cxcywhn(np.array(corners), 40, 20)
    return LabelledImage("sub/a.jpg", 40, 20, Annotation(boxes, np.array(class_ids or [0] * len(corners))))


@pytest.mark.parametrize(
    ("corners", "class_ids"),
    [
        (((0, 0, 10, 10), (10, 0, 20, 10)), (0, 0)),  # touch
        (((0, 0, 10, 10), (10, 10, 20, 20)), (0, 0)),  # touch at a corner
        (((0, 0, 10, 10), (5, 5, 20, 20)), (0, 0)),  # overlap
        (((0, 0, 10, 10), (5, 0, 20, 10)), (0, 1)),  # the second covers an edge of the first
        (((2, 2, 8, 8), (0, 0, 10, 10)), (0, 1)),  # the second covers the first
        (((0, 0, 3, 5),), (0,)),  # 15 pixels, below min_area
        (((0, 0, 10, 0.4),), (0,)),  # nothing left after rounding
    ],
)
def test_boxes_that_a_mask_cannot_hold_are_refused_before_writing(
    tmp_path: Path, corners: tuple[tuple[float, ...], ...], class_ids: tuple[int, ...]
) -> None:
    frames = [LabelledImage("b.jpg", 40, 20, Annotation.empty()), labelled(*corners, class_ids=class_ids)]
    with pytest.raises(InputError, match=r"sub/a\.jpg: its boxes touch, overlap or have fewer than 16 pixels"):
        write_set(tmp_path, ("cyst", "polyp"), frames)
    assert list(tmp_path.iterdir()) == []


def test_boxes_of_two_classes_that_touch_or_leave_each_edge_are_written(tmp_path: Path) -> None:
    for second in ((10, 0, 20, 10), (5, 5, 20, 20), (2, 2, 8, 8)):
        assert len(write_set(tmp_path, ("a", "b"), [labelled((0, 0, 10, 10), second, class_ids=(0, 1))])) == 1


def test_values_count_from_one_and_too_many_classes_are_refused(tmp_path: Path) -> None:
    frame = labelled((0, 0, 10, 10), (20, 0, 30, 10), class_ids=(0, 1))
    assert write_set(tmp_path, ("cyst", "polyp"), [frame]) == [tmp_path / "annot" / "sub" / "a.png"]
    assert np.unique(read_mask(tmp_path / "annot" / "sub" / "a.png")).tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="a black and white mask holds one class"):
        write_mask_set(tmp_path, ("cyst", "polyp"), [frame])
    with pytest.raises(InputError, match="256 classes, but a grey mask holds 255"):
        write_set(tmp_path, [str(i) for i in range(256)], [])


@given(labelled_sets(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_written_masks_are_read_back_within_half_a_pixel(
    tmp_path_factory: pytest.TempPathFactory, frames: list[LabelledImage], black_and_white: bool
) -> None:
    folder = tmp_path_factory.mktemp("mäsk set")
    names = ("lesion",) if black_and_white else ("Zyste", "big polyp", "größe")
    annotations = [Annotation(f.annotation.boxes_cxcywhn, f.annotation.class_ids % len(names)) for f in frames]
    frames = [LabelledImage(f.inner, min(f.width, 300), min(f.height, 300), boxes)
              for f, boxes in zip(frames, annotations, strict=True)]  # fmt: skip
    (folder / "img").mkdir()
    (folder / "annot").mkdir()
    try:
        paths = (write_mask_set if black_and_white else write_set)(folder, names, frames)
    except InputError:
        assume(False)
    assert len(paths) == len(frames)
    for frame in frames:
        (folder / "img" / frame.inner).parent.mkdir(parents=True, exist_ok=True)
        (folder / "img" / frame.inner).touch()
    settings = dataset(
        folder, nc=len(names), names=names, format="mask" if black_and_white else "labelmap",
        labelmap={} if black_and_white else {"values": mask_values(names)},
    )  # fmt: skip
    result, findings = read_with(labelmap, settings, {f.inner: (f.width, f.height) for f in frames})
    assert (findings.problems, findings.notes) == ([], [])
    for frame in frames:
        back = result[frame.inner]
        assert back is not None
        rows = []
        for each in (frame.annotation, back):
            corners = cxcywhn_to_xyxy(each.boxes_cxcywhn, frame.width, frame.height)
            rows.append(sorted(zip(each.class_ids.tolist(), corners.tolist(), strict=True)))
        for (class_id, corners), (class_back, corners_back) in zip(*rows, strict=True):
            assert class_id == class_back
            assert np.abs(np.subtract(corners, corners_back)).max() <= 0.5 + 1e-9
