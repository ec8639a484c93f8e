"""The box checks that every reader shares, by hand and by property."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.errors import EXAMPLES, InputError
from data_utils.formats.labels import ROUNDING, Findings, check_boxes, orient_boxes, read_label_bytes
from data_utils.imaging.images import apply_orientation

unit = st.floats(0, 1)


def checked(boxes: list[list[float]], bad_boxes: str = "error", ids: list[int] | None = None) -> tuple:
    findings = Findings()
    places = [f"a.txt:{line}" for line in range(1, len(boxes) + 1)]
    annotation = check_boxes(boxes, ids or [0] * len(boxes), places, bad_boxes, findings)  # type: ignore[arg-type]
    return annotation, findings


def test_good_boxes_come_back_bit_for_bit() -> None:
    boxes = [[0.5, 0.5, 1.0, 1.0], [0.1, 0.2, 0.05, 0.1], [1 / 3, 2 / 3, 1e-7, 0.3]]
    annotation, findings = checked(boxes, ids=[2, 0, 1])
    assert annotation.boxes_cxcywhn.tolist() == boxes
    assert annotation.class_ids.tolist() == [2, 0, 1]
    assert +findings.counts == {}
    assert findings.problems == []


@pytest.mark.parametrize("bad_boxes", ["error", "drop"])
def test_no_boxes(bad_boxes: str) -> None:
    annotation, findings = checked([], bad_boxes)
    assert annotation.boxes_cxcywhn.shape == (0, 4)
    assert +findings.counts == {}


@pytest.mark.parametrize(
    ("box", "how"),
    [
        ([0.5, 0.5, 0.0, 0.1], "without area"),
        ([0.5, 0.5, 0.1, 0.0], "without area"),
        ([0.5, 0.5, -0.1, 0.1], "without area"),
        ([1.01, 0.5, 0.1, 0.1], "outside the frame"),
        ([0.5, -0.01, 0.1, 0.1], "outside the frame"),
        ([0.5, 0.5, 1.01, 0.1], "outside the frame"),
        ([320.0, 240.0, 64.0, 48.0], "outside the frame"),  # pixels where shares were meant
        ([1.0005, 0.5, 0.0001, 0.1], "outside the frame"),  # nothing of it lies inside
        ([1.7e308, 0.5, 1.7e308, 0.1], "outside the frame"),
    ],
)
def test_bad_boxes_are_refused_or_dropped_alone(box: list[float], how: str) -> None:
    good = [0.5, 0.5, 0.2, 0.2]
    annotation, findings = checked([good, box])
    assert findings.n_problems == 1
    assert findings.problems[0].startswith(f"a.txt:2: a box {how}")
    with pytest.raises(InputError, match="bad_boxes"):
        findings.raise_problems()

    annotation, findings = checked([good, box], "drop")
    assert findings.problems == []
    assert +findings.counts == {f"boxes dropped: {how}": 1}
    assert annotation.boxes_cxcywhn.tolist() == [good]


def test_a_frame_whose_boxes_are_all_dropped_is_counted() -> None:
    annotation, findings = checked([[0.5, 0.5, 0, 0]], "drop")
    assert len(annotation) == 0
    assert findings.counts["frames left without a box"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("bad_boxes", ["error", "drop"])
def test_nan_is_always_a_problem(value: float, bad_boxes: str) -> None:
    _, findings = checked([[0.5, value, 0.1, 0.1]], bad_boxes)
    assert findings.problems[0].startswith("a.txt:1: NaN or infinity")


def test_edges_outside_are_clipped_and_counted_rounding_is_clipped_silently() -> None:
    annotation, findings = checked([[0.05, 0.5, 0.2, 0.2], [0.5, 0.99, 0.2, 0.1]])
    np.testing.assert_allclose(annotation.boxes_cxcywhn, [[0.075, 0.5, 0.15, 0.2], [0.5, 0.97, 0.2, 0.06]], atol=1e-12)
    assert +findings.counts == {"boxes clipped to the frame": 2}

    annotation, findings = checked([[0.5, 0.5, 1 + ROUNDING / 2, 0.2], [0.9505, 0.5, 0.1, 0.2]])
    np.testing.assert_allclose(annotation.boxes_cxcywhn, [[0.5, 0.5, 1, 0.2], [0.95025, 0.5, 0.0995, 0.2]], atol=1e-12)
    assert +findings.counts == {}


def test_duplicates_are_dropped_within_a_class() -> None:
    box = [0.5, 0.5, 0.2, 0.2]
    annotation, findings = checked([box, [0.4, 0.5, 0.2, 0.2], box, box], ids=[0, 0, 0, 1])
    assert annotation.class_ids.tolist() == [0, 0, 1]
    assert +findings.counts == {"boxes dropped: duplicates": 1}


@given(st.lists(st.tuples(*[st.floats(-2, 3, width=32)] * 4), max_size=8))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_in_what_comes_out_lies_in_the_frame(boxes: list[tuple[float, ...]]) -> None:
    annotation, findings = checked([list(box) for box in boxes], "drop")
    low, high = (annotation.boxes_cxcywhn[:, :2] + sign * annotation.boxes_cxcywhn[:, 2:] / 2 for sign in (-1, 1))
    assert (low >= -1e-12).all()
    assert (high <= 1 + 1e-12).all()
    assert (annotation.boxes_cxcywhn[:, 2:] > 0).all()
    dropped = sum(n for what, n in findings.counts.items() if what.startswith("boxes dropped"))
    assert len(annotation) + dropped == len(boxes)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_with_their_frame(orientation: int) -> None:
    width, height = 40, 20
    x1, y1, x2, y2 = 4, 2, 12, 7
    frame = np.zeros((height, width, 3), np.uint8)
    frame[y1:y2, x1:x2] = 255
    shown = apply_orientation(frame, orientation)[:, :, 0]
    rows, columns = np.nonzero(shown)
    shown_height, shown_width = shown.shape
    stored_box = np.array([[(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]])
    cx, cy, w, h = orient_boxes(stored_box, orientation)[0] * [shown_width, shown_height, shown_width, shown_height]
    expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), expected, atol=1e-9)


@given(st.lists(st.tuples(unit, unit, unit, unit), max_size=4), st.integers(1, 8))
def test_turning_back_gives_the_boxes_back(boxes: list[tuple[float, ...]], orientation: int) -> None:
    stored = np.array(boxes).reshape(-1, 4)
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    np.testing.assert_allclose(orient_boxes(orient_boxes(stored, orientation), inverse), stored, atol=1e-12)


def test_problems_are_one_line_with_the_first_few_and_the_total() -> None:
    findings = Findings()
    findings.raise_problems()
    for number in range(EXAMPLES + 3):
        findings.problem(f"file: broken\n{chr(97 + number)}")
    with pytest.raises(InputError) as error:
        findings.raise_problems()
    assert "\n" not in str(error.value)
    assert "broken?e" in str(error.value)
    assert "broken?f" not in str(error.value)
    assert str(error.value).endswith("(and 3 more problems)")


def test_a_cause_is_told_once_with_its_count_and_five_places() -> None:
    findings = Findings()
    for number in range(8):
        findings.problem(f"raw/{number}.txt:1: class id {number + 1}, but dataset.nc = 1 allows 0..0; mend it")
    for number in range(2):
        findings.problem(f"raw/all.json:{number}: no image '{number}.png' below raw; put it there")
    findings.problem("raw/x.xml:1: class 'cyst' is not among dataset.names ['lesion']")
    findings.problem("raw/x.xml:2: class 'node' is not among dataset.names ['lesion']")
    with pytest.raises(InputError) as error:
        findings.raise_problems()
    text = str(error.value)
    assert text.count("mend it") == text.count("put it there") == 1
    assert all(f"raw/{number}.txt:1" in text for number in range(5))
    assert "raw/5.txt" not in text
    assert "8 such" in text
    assert "raw/all.json:1 '1.png'" in text, "what sets an example apart is named"
    assert "'cyst'" in text
    assert "'node'" in text, "another class is another cause"
    assert "more problems" not in text
    assert findings.n_problems == 12


def test_a_huge_label_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(1 << 25)
    with pytest.raises(InputError, match=r"a\.txt: 33554432 bytes"):
        read_label_bytes(path)
