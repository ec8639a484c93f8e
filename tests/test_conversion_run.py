"""The steps of a conversion that can be looked at one by one; whole conversions: test_convert.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raw_samples import raw_folder

from data_utils.convert.steps import Conversion, corner_shift, read_section
from data_utils.errors import InputError
from data_utils.formats.labels import LabelledImage
from data_utils.records import Annotation

BOXES = Annotation(np.array([[0.25, 0.25, 0.1, 0.1], [0.75, 0.5, 0.2, 0.4]]), np.array([0, 1]))
FRAME = LabelledImage("a.png", 100, 50, BOXES)


def test_corner_shift_by_hand() -> None:
    assert corner_shift(FRAME, BOXES) == 0
    assert corner_shift(FRAME, Annotation(BOXES.boxes_cxcywhn[::-1], BOXES.class_ids[::-1])) == 0
    moved = BOXES.boxes_cxcywhn + np.array([[0.001, 0, 0, 0], [0, 0.01, 0, 0]])
    assert corner_shift(FRAME, Annotation(moved, BOXES.class_ids)) == pytest.approx(0.5)  # 0.01 of 50 pixels
    assert corner_shift(FRAME, Annotation(BOXES.boxes_cxcywhn, np.array([1, 0]))) == pytest.approx(55)  # x2: 30 and 85
    assert corner_shift(FRAME, Annotation(BOXES.boxes_cxcywhn, np.array([0, 0]))) is None
    assert corner_shift(FRAME, Annotation.empty()) is None
    assert corner_shift(LabelledImage("a.png", 9, 9, Annotation.empty()), Annotation.empty()) == 0


def test_how_a_source_is_read(tmp_path: Path) -> None:
    raw = raw_folder(tmp_path / "raw", {"a.png": "0 0.5 0.5 0.1 0.1\n"})
    (raw / "classes.txt").write_text("b\na\n")
    section = read_section(raw, (), {"bad_boxes": "drop"})
    assert (section.format, section.names, section.group, section.bad_boxes) == ("yolo", ("b", "a"), "image", "drop")
    assert read_section(raw, (), {"labelmap": {"values": {7: "y", 2: "z", 3: "y"}}}).names == ("z", "y")
    with pytest.raises(InputError, match="convert: unknown key 'bad_box', did you mean"):
        read_section(raw, (), {"bad_box": "drop"})
    with pytest.raises(InputError, match="must be distinct"):
        read_section(raw, ("a", "a"), {})
    with pytest.raises(InputError, match="no images there"):
        read_section(raw / "labels", (), {})
    with pytest.raises(InputError, match="no such folder or zip archive"):
        read_section(raw / "gone", (), {})


def test_what_cannot_begin(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder or zip archive"):
        Conversion(tmp_path / "gone", tmp_path / "out", "coco", False)
    with pytest.raises(InputError, match="--to pdf: allowed: yolo, voc, coco"):
        Conversion(tmp_path, tmp_path / "out", "pdf", False)


def test_labels_that_do_not_come_back_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_utils.formats import yolo
    from data_utils.formats.registry import READERS

    raw = raw_folder(tmp_path / "raw", {"a.png": "0 0.5 0.5 0.1 0.1\n"})

    def lossy(folder: Path, names: object, frames: list[LabelledImage]) -> list[Path]:
        wrong = [LabelledImage(f.inner, f.width, f.height, Annotation.empty()) for f in frames]
        return yolo.write_set(folder, ["x"], wrong)

    monkeypatch.setitem(READERS, "yolo", READERS["yolo"]._replace(write_set=lossy))
    with pytest.raises(InputError, match=r"a\.png: yolo labels do not give its boxes back"):
        Conversion(raw, tmp_path / "out", "yolo", False).run(["x"], {}, False, False)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
