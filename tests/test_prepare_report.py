"""The closing summary names every count that is not zero, the notes, the table and the files."""

from __future__ import annotations

from pathlib import Path

from data_utils.prepare.steps import PrepareReport


def test_summary_text() -> None:
    report = PrepareReport(
        name="demo", n_read=10, n_kept=7, n_written=4, n_reused=3, n_labels_written=5, n_removed=2, n_native=6,
        n_upsampled=1, n_boxes=9, excluded={"blurred": 2, "unreadable": 1}, read_counts={"boxes clipped": 4, "none": 0},
        image_notes={"grey": 1}, split_rows=[{"split": "split1", "part": "train", "frames": 7}], notes=["look here"],
        files={"manifest": Path("out/manifest.csv")},
    )  # fmt: skip
    assert report.n_excluded == 3
    assert report.text().splitlines() == [
        "demo: 10 frames read, 7 kept with 9 boxes, 3 excluded",
        "  copies     4 written, 3 reused, 2 removed; 5 label files changed",
        "  HR copies  6 native, 1 upsampled",
        "  excluded   2 blurred",
        "  excluded   1 unreadable",
        "  read       4 boxes clipped",
        "  converted  1 grey",
        "  note       look here",
        "",
        "split   part   frames",
        "split1  train       7",
        "",
        "  manifest   out/manifest.csv",
    ]
