"""What a conversion says about itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from data_utils.convert.steps import ConvertReport, dataset_name


def report(to: str) -> ConvertReport:
    counts = Counter({"frames": 3, "boxes": 5, "negative frames": 1, "boxes dropped: duplicates": 2})
    unreadable = tuple(f"{k}.png: truncated" for k in range(7))
    per_class = {"b": 5, "no": 0}
    return ConvertReport(Path("in"), "voc", Path("data/out"), to, per_class, counts, 0.25, unreadable, ("look",))


def test_text() -> None:
    assert report("coco").text().splitlines() == [
        "in (voc) -> data/out (coco)",
        "  3 frames, 5 boxes, 1 negative frames",
        "  boxes by class: b 5, no 0",
        "  read back: every box is there, the farthest corner moved by 0.25 pixels",
        "  2 boxes dropped: duplicates",
        "  left out: 0.png: truncated (7 such, also 1.png, 2.png, 3.png, 4.png, ...)",
        "note: look",
    ]


def test_yaml_keeps_names_that_yaml_would_change() -> None:
    values = yaml.safe_load(report("coco").dataset_yaml())
    assert values == {
        "name": "out", "raw": "data/out", "processed": "data/out/processed", "splits": "data/out/splits",
        "filter_log": "results/out_filter_log.csv", "format": "coco", "nc": 2, "names": ["b", "no"],
    }  # fmt: skip
    assert yaml.safe_load(report("labelmap").dataset_yaml())["labelmap"] == {"values": {1: "b", 2: "no"}}


def test_the_record_names_no_files_of_the_source() -> None:
    assert report("coco").record() == {
        "made_by": "python -m data_utils.convert", "source": "in", "from": "voc", "to": "coco", "names": ["b", "no"],
        "counts": {"frames": 3, "boxes": 5, "negative frames": 1, "boxes dropped: duplicates": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "name"),
    [("a/My set (1)", "My_set_1"), (".hidden", "hidden"), ("ü", "converted"), ("x-1.0_y", "x-1.0_y")],
)
def test_dataset_name(folder: str, name: str) -> None:
    assert dataset_name(Path(folder)) == name
