"""The robustness picture: drawn from the JSON alone, undefined values left out."""

from __future__ import annotations

import json

import cv2
import pytest

from data_utils.errors import InputError
from evaluation.robustness.study import PLOTTED, draw

UNDEFINED = {"value": None, "bca_low": None, "bca_high": None}


def row(name, severity, value, by="corruption"):
    interval = UNDEFINED if value is None else {"value": value, "bca_low": value - 0.05, "bca_high": value + 0.05}
    return {"by": by, "name": name, "severity": severity, "value": dict.fromkeys(PLOTTED, interval)}


def study(*rows):
    clean = row("clean", 0, 0.8)
    return {"weights": "runs/x/best.pt", "data": "demo_val", "n_frames": 3, "rows": [clean, *rows]}


def drawn(tmp_path, record):
    (tmp_path / "study.json").write_text(json.dumps(record))
    draw(tmp_path / "study.json", tmp_path / "study.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.json", "study.png"]
    return cv2.imread(str(tmp_path / "study.png"))


def test_a_column_for_each_corruption_and_one_for_the_sources(tmp_path):
    one = drawn(tmp_path, study(row("blur", 1, 0.7), row("blur", 2, None)))
    rows = [row("blur", 1, 0.7), row("noise", 3, 0.2), row("only a", None, 0.5, "source"),
            row("without a", None, None, "source")]  # fmt: skip
    three = drawn(tmp_path, study(*rows))
    assert three.shape[1] > one.shape[1] * 1.8
    assert (one < 250).any()


def test_the_clean_frames_alone_and_undefined_values_can_be_drawn(tmp_path):
    assert drawn(tmp_path, study()).size
    assert drawn(tmp_path, {**study(row("blur", 1, None)), "rows": [row("clean", 0, None)]}).size


def test_another_file_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InputError, match=r"other\.json: not a robustness study"):
        draw(tmp_path / "other.json", tmp_path / "x.png")
