"""One CVAT XML file: labels, shapes of every kind as straight boxes, tracks between keyframes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.formats.cvat import CvatFile, CvatTrack, TrackedBox, read_cvat_file
from data_utils.formats.labels import Findings


def parse(folder: Path, *lines: str) -> tuple[CvatFile, Findings]:
    path, findings = folder / "annotations.xml", Findings()
    path.write_text("\n".join(["<annotations>", *lines, "</annotations>"]), encoding="utf-8")
    return read_cvat_file(path, findings), findings


def one_image(*shapes: str) -> tuple[str, ...]:
    return ('<image id="0" name="a.png" width="40" height="20">', *shapes, "</image>")


ROOT_HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("shape", "corners", "counted"),
    [
        ('<box label="c" xtl="1.5" ytl="2" xbr="11" ybr="9.25"/>', (1.5, 2, 11, 9.25), None),
        ('<box label="c" xtl="1" ytl="2" xbr="11" ybr="8" rotation="0.0"/>', (1, 2, 11, 8), None),
        # Sides 10 and 6 about (6, 5): a quarter turn swaps them, an eighth makes both (10 + 6) sqrt(1/2).
        ('<box label="c" xtl="1" ytl="2" xbr="11" ybr="8" rotation="90"/>', (3, 0, 9, 10), "rotated boxes"),
        ('<box label="c" xtl="1" ytl="2" xbr="11" ybr="8" rotation="45"/>',
         (6 - 8 * ROOT_HALF, 5 - 8 * ROOT_HALF, 6 + 8 * ROOT_HALF, 5 + 8 * ROOT_HALF), "rotated boxes"),
        ('<polygon label="c" points="3,4;10.5,6;7,12"/>', (3, 4, 10.5, 12), "polygons taken"),
        ('<ellipse label="c" cx="10" cy="8" rx="5" ry="2"/>', (5, 6, 15, 10), "ellipses taken"),
        ('<ellipse label="c" cx="10" cy="8" rx="5" ry="2" rotation="90"/>', (8, 3, 12, 13), "ellipses taken"),
        ('<mask label="c" rle="0, 4" left="3" top="2" width="2" height="2"/>', (3, 2, 5, 4), "masks taken"),
    ],
)  # fmt: skip
def test_shapes_become_straight_boxes(tmp_path: Path, shape: str, corners: tuple, counted: str | None) -> None:
    file, findings = parse(tmp_path, *one_image("", shape))
    [box] = file.images[0].boxes
    assert (box.label, box.line) == ("c", 4)
    assert box.corners == pytest.approx(corners, abs=1e-9)
    assert [key for key in findings.counts if counted and key.startswith(counted)] == [*findings.counts]


def test_shapes_without_a_box_are_counted(tmp_path: Path) -> None:
    shapes = ('<polyline label="c" points="1,1;2,2"/>', '<points label="c" points="1,1"/>', '<cuboid label="c"/>',
              '<skeleton label="c"><points label="1" points="1,1"/></skeleton>', '<tag label="c"/>', "<sphere/>")
    file, findings = parse(tmp_path, *one_image(*shapes), '<image name="b.png"><tag label="c"/></image>')
    assert [image.boxes for image in file.images] == [[], []]
    assert findings.counts == {
        "lines skipped: no boxes": 1, "points skipped: no boxes": 1, "cuboids skipped: no boxes": 1,
        "skeletons skipped: no boxes": 1, "unknown shapes skipped: no boxes": 1, "tags of whole images, no boxes": 2,
        "frames with skipped shapes alone, taken as healthy": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<box label="c" xtl="x" ytl="2" xbr="11" ybr="8"/>', "<box>: xtl = 'x': must be a number"),
        ('<box label="c" xtl="1" ytl="2" xbr="11"/>', "ybr = '': must be a number"),
        ('<box label="c" xtl="nan" ytl="2" xbr="1" ybr="3"/>', "xtl = 'nan'"),
        ('<box label="c" xtl="1" ytl="2" xbr="1e300" ybr="3"/>', "xbr = '1e300'"),
        ('<box label="c" xtl="1" ytl="2" xbr="3" ybr="3" rotation="inf"/>', "rotation: must be a number"),
        ('<polygon label="c" points="1,2;3,4"/>', "points '1,2;3,4' are not three or more"),
        ('<polygon label="c" points="1,2;3,4;5"/>', "are not three or more"),
        ('<polygon label="c" points="1,2;3,4;5,b"/>', "points: must be a number"),
        ('<polygon label="c"/>', "points ''"),
        ('<ellipse label="c" cx="1" cy="2" rx="3"/>', "ry = ''"),
        ('<mask label="c" left="1" top="2" width="w" height="2"/>', "width = 'w'"),
    ],
)
def test_bad_shapes_are_named_with_file_and_line(tmp_path: Path, shape: str, message: str) -> None:
    file, findings = parse(tmp_path, *one_image("", "", shape))
    assert file.images[0].boxes == []
    [problem] = findings.problems
    assert problem.startswith(f"{file.path}:5: ")
    assert message in problem


LABELS = """<version>1.1</version><meta><task><mode>{mode}</mode><start_frame>2</start_frame><stop_frame>9</stop_frame>
<labels><label><name>Polyp</name></label><label><name>cyst ä</name></label>
<label><name>body</name><type>skeleton</type><sublabels><label><name>1</name></label></sublabels></label>
<label><name>2</name><type>points</type><parent>body</parent></label></labels>{size}</task></meta>"""


def test_labels_come_in_the_order_of_the_task(tmp_path: Path) -> None:
    file, _ = parse(tmp_path, LABELS.format(mode="annotation", size=""))
    assert file.labels == ("Polyp", "cyst ä", "body")
    assert (file.is_video, file.video_size) == (False, (0, 0))
    size = "<original_size><width>64</width><height>48</height></original_size>"
    file, _ = parse(tmp_path, LABELS.format(mode="interpolation", size=size))
    assert (file.is_video, file.video_size, file.first_frame, file.last_frame) == (True, (64, 48), 2, 9)
    mask = '<mask label="b" left="0" top="0" width="1" height="1"/>'
    file, _ = parse(tmp_path, *one_image(mask), '<track label="a"/>')
    assert file.labels == ("a", "b")


def test_a_track_is_interpolated_between_its_boxes_and_nowhere_else() -> None:
    boxes = [
        TrackedBox(2, False, (0, 0, 10, 10), 1),
        TrackedBox(6, False, (8, 4, 18, 24), 2),
        TrackedBox(7, True, (8, 4, 18, 24), 3),
        TrackedBox(20, False, (0, 0, 1, 1), 4),
    ]
    found = dict(CvatTrack("c", boxes).between([1, 2, 3, 4, 6, 7, 10, 20, 21]))
    assert {frame: box.corners for frame, box in found.items()} == {3: (2, 1, 12, 13.5), 4: (4, 2, 14, 17)}


def test_tracks_are_sorted_and_their_frames_checked(tmp_path: Path) -> None:
    corners = 'xtl="1" ytl="1" xbr="2" ybr="2"'
    lines = [f'<box frame="{frame}" outside="{int(frame == "5")}" {corners}/>' for frame in ("5", "3", "3", "x", "-1")]
    file, findings = parse(tmp_path, '<track id="0" label="c">', *lines, "</track>")
    assert [(box.frame, box.outside, box.line) for box in file.tracks[0].boxes] == [(3, False, 4), (5, True, 3)]
    assert [problem.partition(": ")[2][:30] for problem in findings.problems] == [
        "frame '3' stands twice in its ", "frame 'x' is no frame number; ",
    ]  # fmt: skip
    assert findings.problems[1].endswith("annotations.xml:7 '-1')")


def test_what_is_no_cvat_file(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation/>")
    with pytest.raises(InputError, match=r"a\.xml: begins with <annotation>, expected CVAT's <annotations>"):
        read_cvat_file(tmp_path / "a.xml", Findings())
    with pytest.raises(InputError, match="cannot be read"):
        read_cvat_file(tmp_path, Findings())
