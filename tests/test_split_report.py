"""The lists on disk, the table, and the sentences that go with them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.split_report import (
    format_table,
    independence_note,
    lesion_notes,
    repeat_notes,
    summary_rows,
    write_splits,
)
from data_utils.splits import PARTS, Split, SplitItem


def frames(patient: str, lesions: int, healthy: int, source: str) -> list[SplitItem]:
    """`lesions` frames with one box, then `healthy` frames without."""
    return [
        SplitItem(f"{patient}_{i}", f"{patient}/{i}.jpg", patient, patient, source, "WL", i < lesions, int(i < lesions))
        for i in range(lesions + healthy)
    ]


def small_split() -> Split:
    return {
        "train": frames("a", 2, 1, "S1") + frames("b", 1, 0, "S2"),
        "val": frames("c", 1, 0, "S2"),
        "test": frames("d", 0, 2, "S2"),
    }


def test_lists_hold_absolute_paths_and_the_summary_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_splits("my splits", [small_split()], lambda stem: Path("lr") / f"{stem}.jpg")
    lines = (tmp_path / "my splits/split1/train.txt").read_text().splitlines()
    assert lines == [str(tmp_path / "lr" / f"{stem}.jpg") for stem in ("a_0", "a_1", "a_2", "b_0")]
    with (tmp_path / "my splits/summary.csv").open() as stream:
        train, _, test = csv.DictReader(stream)
    assert train == {
        "split": "split1", "part": "train", "patients": "2", "groups": "2", "frames": "4", "lesion_frames": "3",
        "healthy_frames": "1", "boxes": "3", "source:S1": "3", "source:S2": "1",
    }  # fmt: skip
    assert (test["frames"], test["lesion_frames"], test["healthy_frames"]) == ("2", "0", "2")
    assert lesion_notes([small_split()]) == ["split1/test holds no frame with a box, so it has no AP"]


def test_stale_lists_go_and_foreign_files_stay(tmp_path: Path) -> None:
    healthy = {**small_split(), "val_healthy": frames("c2", 0, 1, "S2"), "test_healthy": []}
    write_splits(tmp_path, [healthy, small_split()], Path)
    assert (tmp_path / "split1/val_healthy.txt").read_text()
    assert (tmp_path / "split1/test_healthy.txt").read_text() == ""
    (tmp_path / "split7").mkdir()
    (tmp_path / "split7/test.txt").write_text("mine\n")
    write_splits(tmp_path, [small_split()], Path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["split1/test.txt", "split1/train.txt", "split1/val.txt", "split7/test.txt", "summary.csv"]


def test_a_line_break_in_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line break"):
        write_splits(tmp_path, [small_split()], lambda stem: Path(f"a\u2028b/{stem}"))


def test_table_is_aligned() -> None:
    lines = format_table(summary_rows([small_split()])).splitlines()
    assert lines[0] == "split   part   patients  groups  frames  lesion frames  healthy frames  boxes  S1  S2"
    assert lines[1] == "split1  train         2       2       4              3               1      3   3   1"


def test_notes_say_what_a_split_cannot_show() -> None:
    by_sequence: Split = {part: [SplitItem(part, f"{part}.jpg", "anna", f"anna/{part}")] for part in PARTS}
    assert independence_note([by_sequence], "sequence") == [
        "split by sequence (dataset.group), so NOT patient-independent: 1 patients have frames in more than one part"
    ]
    assert independence_note([small_split()], "image") == ["split by image (dataset.group), so NOT patient-independent"]
    assert independence_note([small_split()], "patient") == []
    repeated = repeat_notes([small_split(), by_sequence, small_split()])
    assert repeated == ["split3 equals split1: too few groups for another one"]
