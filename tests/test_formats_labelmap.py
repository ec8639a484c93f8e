"""Label maps: components by hand, mask kinds, wrong sizes, and the real larynx set."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from data_utils.config_sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import RawSet, read_raw_set
from data_utils.formats.labelmap import component_boxes, read_mask
from data_utils.formats.labels import Findings


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
    assert result.counts == {"frames": 1, "boxes": 0, "negative frames": 1}
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
