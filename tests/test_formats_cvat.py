"""CVAT's XML over whole folders: where images are sought, videos, labels, hostile files, and the way back."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import RawSet, cvat, read_raw_set
from data_utils.formats.labels import LabelledImage
from data_utils.records import Annotation, cxcywhn_to_xyxy

NAMES = ("cyst", "Polyp")
BOX = '<box label="{}" xtl="4" ytl="2" xbr="12" ybr="10" z_order="0"></box>'
LABELS = "<meta><task><labels>" + "".join(f"<label><name>{n}</name></label>" for n in NAMES) + "</labels></task></meta>"


def picture(path: Path, size: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def write_xml(path: Path, *lines: str, meta: str = LABELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["<annotations>", meta, *lines, "</annotations>"]), encoding="utf-8")
    return path


def image(name: str, *shapes: str, extra: str = "") -> str:
    return "\n".join([f'<image id="0" name="{name}" {extra} width="40" height="20">', *shapes, "</image>"])


def track(label: str, *boxes: tuple[int, float, int]) -> str:
    lines = [f'<box frame="{frame}" outside="{outside}" keyframe="1" xtl="{x}" ytl="2" xbr="{x + 8}" ybr="10"></box>'
             for frame, x, outside in boxes]  # fmt: skip
    return "\n".join([f'<track id="0" label="{label}">', *lines, "</track>"])


def read(root: Path, **changes: object) -> RawSet:
    values = {"raw": str(root), "nc": 2, "names": NAMES, "group": "image", "metadata": None}
    return read_raw_set(DatasetSection.model_validate(values | changes))


def stems(raw_set: RawSet) -> dict[str, int]:
    return {frame.stem: len(frame.annotation) for frame in raw_set.frames}


# -- images --------------------------------------------------------------------------------------------------------


def test_boxes_names_and_healthy_frames(tmp_path: Path) -> None:
    write_xml(tmp_path / "annotations.xml", image("a.png", BOX.format("Polyp"), BOX.format("cyst")), image("b c.png"))
    for name in ("a.png", "b c.png"):
        picture(tmp_path / "images" / name)
    result = read(tmp_path)
    assert result.counts == {"frames": 2, "boxes": 2, "negative frames": 1}
    assert [frame.stem for frame in result.frames] == ["a", "b c"]
    assert result.frames[0].annotation.class_ids.tolist() == [1, 0]
    np.testing.assert_allclose(result.frames[0].annotation.boxes_cxcywhn, [[0.2, 0.3, 0.2, 0.4]] * 2, atol=1e-12)
    assert cvat.class_names(tmp_path) == NAMES


@pytest.mark.parametrize(
    ("xml", "place", "name", "subset"),
    [
        ("annotations.xml", "images/p 1/ä.png", "p 1/ä.png", ""),
        ("annotations.xml", "a.png", "a.png", ""),
        ("annotations.xml", "images/train/a.png", "a.png", "train"),
        ("annotations.xml", "elsewhere/deep/a.png", "server/a.png", ""),
        ("annotations.xml", "images/p1/a.png", "p1\\a.png", ""),
        ("annotations.xml", "images/frame_000003.PNG", "frame_000003", ""),
        ("task 1/annotations.xml", "task 1/images/a.png", "a.png", ""),
        ("task 1/export.xml", "task 1/a.png", "a.png", ""),
        ("xml/1.xml", "images/a.png", "a.png", ""),
    ],
)
def test_places_an_image_is_sought_at(tmp_path: Path, xml: str, place: str, name: str, subset: str) -> None:
    write_xml(tmp_path / xml, image(name, BOX.format("cyst"), extra=f'subset="{subset}"'))
    picture(tmp_path / place)
    result = read(tmp_path)
    assert (result.counts["frames"], result.counts["boxes"]) == (1, 1)


def test_tasks_in_folders_of_their_own_keep_their_images_apart(tmp_path: Path) -> None:
    for task, label in (("t1", "cyst"), ("t2", "Polyp")):
        write_xml(tmp_path / task / "annotations.xml", image("a.png", BOX.format(label)))
        picture(tmp_path / task / "images" / "a.png")
    result = read(tmp_path)
    assert {frame.stem: frame.annotation.class_ids.tolist() for frame in result.frames} == {"t1_a": [0], "t2_a": [1]}


def test_files_must_agree_on_their_labels(tmp_path: Path) -> None:
    write_xml(tmp_path / "1.xml", image("a.png"))
    other = write_xml(tmp_path / "2.xml", image("b.png"), meta=LABELS.replace("cyst", "node"))
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    for call in (read, cvat.class_names):
        with pytest.raises(InputError, match=r"2\.xml: labels \['node', 'Polyp'\], but .*1\.xml has \['cyst', 'P"):
            call(tmp_path)
    write_xml(other, image("b.png"))
    assert read(tmp_path).counts["frames"] == 2


def test_listed_images_that_are_not_there(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "annotations.xml", *(image(f"{n}.png", BOX.format("cyst")) for n in range(7)))
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert f"{path}:3: no image '0.png' below {tmp_path}" in str(error.value)
    assert f"(7 such, also {path}:6 '1.png', " in str(error.value)
    assert "'5.png'" not in str(error.value)


def test_images_that_no_file_lists_are_not_healthy_by_themselves(tmp_path: Path) -> None:
    write_xml(tmp_path / "annotations.xml", image("a.png", BOX.format("cyst")))
    for name in ("a", "new"):
        picture(tmp_path / "images" / f"{name}.png")
    with pytest.raises(InputError, match=r"new\.png: no label file .*<image>.*allow_background"):
        read(tmp_path)
    assert stems(read(tmp_path, allow_background=True)) == {"a": 1, "new": 0}


@pytest.mark.parametrize(
    "name", ["../outside.png", "/etc/a.png", "C:/a.png", "images/../../outside.png", "", "..\\a.png"]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "raw"
    path = write_xml(root / "annotations.xml", image(name, BOX.format("cyst")))
    picture(root / "images" / "outside.png")
    picture(tmp_path / "outside.png")
    with pytest.raises(InputError) as error:
        read(root, allow_background=True)
    assert f"{path}:3: " in str(error.value)


def test_one_image_described_twice(tmp_path: Path) -> None:
    path = write_xml(tmp_path / "annotations.xml", image("a.png"), image("images/a.png"))
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert f"{path}:5: " in str(error.value)
    assert f"is described at {path}:3 already" in str(error.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (BOX.format("polyp"), "class 'polyp' is not among dataset.names ['cyst', 'Polyp'], did you mean 'Polyp'?"),
        (BOX.format("cyst").replace('"12"', '"4"'), "a box without area"),
        (BOX.format("cyst").replace('"4"', '"50"').replace('"12"', '"60"'), "a box outside the frame"),
        ("<box/>", "must be a number"),
    ],
)
def test_bad_shapes_are_named_with_file_and_line(tmp_path: Path, shape: str, message: str) -> None:
    path = write_xml(tmp_path / "annotations.xml", image("a.png", BOX.format("cyst"), shape))
    picture(tmp_path / "images" / "a.png")
    with pytest.raises(InputError) as error:
        read(tmp_path)
    assert f"{path}:5: " in str(error.value)
    assert message in str(error.value)


def test_a_size_that_disagrees_is_noted_and_a_damaged_image_keeps_the_written_one(tmp_path: Path) -> None:
    write_xml(tmp_path / "annotations.xml", *(image(f"{n}.png", BOX.format("cyst")) for n in "ab"))
    picture(tmp_path / "images" / "a.png", (80, 40))
    (tmp_path / "images" / "b.png").write_bytes(b"damaged")
    result = read(tmp_path)
    boxes = [frame.annotation.boxes_cxcywhn.tolist() for frame in result.frames]
    np.testing.assert_allclose(boxes, [[[0.1, 0.15, 0.1, 0.2]], [[0.2, 0.3, 0.2, 0.4]]], atol=1e-12)
    assert result.counts["image sizes that disagree with the label file"] == 1
    assert any("annotations.xml:3: says 40x20 pixels but the image has 80x40" in note for note in result.notes)


# -- videos --------------------------------------------------------------------------------------------------------


def video(root: Path, *tracks: str, frames: range = range(6), meta: str = LABELS) -> Path:
    for number in frames:
        picture(root / "images" / f"frame_{number:06d}.png")
    return write_xml(root / "annotations.xml", *tracks, meta=meta)


def lefts(result: RawSet) -> dict[str, list[float]]:
    """Left edges in pixels, by frame."""
    return {f.stem[-1]: sorted(np.round(cxcywhn_to_xyxy(f.annotation.boxes_cxcywhn, 40, 20)[:, 0], 9).tolist())
            for f in result.frames}  # fmt: skip


def test_tracks_are_drawn_where_their_object_is_seen(tmp_path: Path) -> None:
    video(tmp_path, track("cyst", (1, 4, 0), (3, 10, 0), (4, 10, 1)), track("Polyp", (3, 20, 0)))
    result = read(tmp_path)
    assert lefts(result) == {"0": [], "1": [4], "2": [7], "3": [10, 20], "4": [], "5": []}
    assert result.counts == {
        "frames": 6, "boxes": 4, "negative frames": 3, "boxes interpolated between frames of a track": 1,
    }  # fmt: skip


def test_an_object_that_comes_back(tmp_path: Path) -> None:
    video(tmp_path, track("cyst", (0, 4, 0), (1, 4, 1), (4, 8, 0)))
    assert lefts(read(tmp_path)) == {"0": [4], "1": [], "2": [], "3": [], "4": [8], "5": []}


def test_frames_of_a_video_without_an_image_are_counted(tmp_path: Path) -> None:
    video(tmp_path, track("cyst", (0, 4, 0), (10**9, 10, 0)), frames=range(2))
    result = read(tmp_path)
    assert (result.counts["boxes"], result.counts["boxes of a video's frames without an image"]) == (2, 1)
    assert any("1 boxes are of frames that have no image" in note for note in result.notes)


def test_a_video_without_any_image_says_where_to_put_them(tmp_path: Path) -> None:
    video(tmp_path, track("cyst", (0, 4, 0)), frames=range(0))
    with pytest.raises(InputError, match=r"annotations\.xml: no frame of its video below .*images as frame_0"):
        read(tmp_path)


def test_frames_that_the_task_does_not_cover_are_not_healthy(tmp_path: Path) -> None:
    stop = LABELS.replace("<labels>", "<start_frame>1</start_frame><stop_frame>2</stop_frame><labels>")
    video(tmp_path, track("cyst", (1, 4, 0)), frames=range(4), meta=stop)
    with pytest.raises(InputError, match=r"frame_000000\.png: no label.*2 such, also .*frame_000003\.png"):
        read(tmp_path)
    assert read(tmp_path, allow_background=True).counts["frames without a label file, taken as healthy"] == 2


def test_two_videos_must_not_share_their_frames(tmp_path: Path) -> None:
    video(tmp_path, track("cyst", (1, 4, 0)))
    write_xml(tmp_path / "b.xml", track("cyst", (1, 4, 0)))
    with pytest.raises(InputError, match=r"b\.xml: .*frame_000000\.png is described at .*annotations\.xml:1 already"):
        read(tmp_path)
    picture(tmp_path / "images" / "copy" / "frame_000001.png")
    with pytest.raises(InputError, match="ends in the frame number of"):
        read(tmp_path)


# -- the way back --------------------------------------------------------------------------------------------------

sides = st.integers(2, 1500)
shares = st.floats(0, 1)
words = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn")), min_size=1, max_size=8)


@given(
    names=st.lists(words.map(str.strip).filter(bool), min_size=1, max_size=4, unique=True),
    size=st.tuples(sides, sides),
    rows=st.lists(st.tuples(st.integers(0, 3), shares, shares, st.floats(0.01, 1), st.floats(0.01, 1)), max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], size: tuple[int, int], rows: list[tuple]
) -> None:
    root = tmp_path_factory.mktemp("cvat")
    low = np.array([(x * (1 - w), y * (1 - h)) for _, x, y, w, h in rows]).reshape(-1, 2)
    high = low + np.array([(w, h) for *_, w, h in rows]).reshape(-1, 2)
    ids = np.array([row[0] % len(names) for row in rows], dtype=np.int64)
    annotation = Annotation(np.hstack([(low + high) / 2, high - low]), ids)
    frames = [LabelledImage("p 1/ä&<.png", *size, annotation), LabelledImage("n.png", *size, Annotation.empty())]
    assert cvat.write_set(root, names, frames) == [root / "annotations.xml"]
    for frame in frames:
        picture(root / "images" / frame.inner, size)
    back = read(root, nc=len(names), names=tuple(names))
    assert cvat.class_names(root) == tuple(names)
    assert back.counts["negative frames"] == (1 if rows else 2)
    [found] = [frame.annotation for frame in back.frames if frame.stem != "n"]
    unique = {(i, *np.round(b, 9)): k for k, (i, b) in enumerate(zip(ids, annotation.boxes_cxcywhn, strict=True))}
    assert len(found) == len(unique)
    for class_id, box in zip(found.class_ids, cxcywhn_to_xyxy(found.boxes_cxcywhn, *size), strict=True):
        errors = np.abs(cxcywhn_to_xyxy(annotation.boxes_cxcywhn, *size) - box).max(axis=1)
        assert errors[ids == class_id].min() < 1e-3


# -- hostile and broken --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE annotations [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><annotations>&b;</annotations>',
        "<annotations>" + "<a>" * 50_000,
        "<annotations><image",
        "",
        "<html/>",
    ],
)
def test_hostile_and_broken_files_are_named_at_once(tmp_path: Path, content: str) -> None:
    (tmp_path / "annotations.xml").write_text(content)
    picture(tmp_path / "images" / "a.png")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"annotations\.xml:"):
        read(tmp_path, format="cvat")
    assert time.monotonic() - started < 3


def test_no_cvat_file_at_all(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert not cvat.claims(tmp_path)
    for call in (lambda: read(tmp_path, format="cvat"), lambda: cvat.class_names(tmp_path)):
        with pytest.raises(InputError, match=r"no CVAT file there; put annotations\.xml"):
            call()


WHOLE = "\n".join([
    "<annotations>", LABELS, image("a.png", BOX.format("cyst"), '<polygon label="Polyp" points="1,2;9,4;3,8"/>'),
    track("cyst", (1, 4, 0), (3, 10, 0), (4, 10, 1)), "</annotations>",
])  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.text(max_size=3)), max_size=4), st.binary(max_size=9))
@settings(max_examples=100, deadline=None)
def test_random_edits_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, str]], tail: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "random cvat"
    if not root.exists():
        for name in ("a.png", "frame_000001.png", "frame_000002.png"):
            picture(root / "images" / name)
    text = WHOLE
    for position, inserted in edits:
        text = text[:position] + inserted + text[position + len(inserted) :]
    (root / "annotations.xml").write_bytes(text.encode("utf-8", "surrogatepass") + tail)
    message = "annotations.xml"
    try:
        result = read(root, format="cvat", allow_background=True, bad_boxes="drop")
        assert all(np.isfinite(frame.annotation.boxes_cxcywhn).all() for frame in result.frames)
    except InputError as error:
        message = str(error)
    assert "annotations.xml" in message
    with contextlib.suppress(InputError):
        cvat.class_names(root)
