"""The lists on disk, the table, and the sentences that go with them."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from data_utils.config.sections import DatasetSection, SplitSection
from data_utils.errors import InputError
from data_utils.splits.report import (
    WRITTEN,
    external_note,
    format_splits,
    independence_note,
    lesion_notes,
    ratio_notes,
    repeat_notes,
    set_edited_lists_aside,
    summary_rows,
    write_splits,
)
from data_utils.splits.search import PARTS, Split, SplitItem, hashed_id, hold_outs, set_healthy_aside


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
        "split": "split1", "part": "train", "patients": "2", "groups": "2", "frames": "4", "share_%": "57.1",
        "lesion_frames": "3", "healthy_frames": "1", "boxes": "3", "small": "0", "medium": "0", "large": "0",
        "source:S1": "3", "source:S2": "1",
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
    lists = [f"split1/{part}.txt" for part in ("test", "train", "val")]
    assert left == [WRITTEN, *lists, "split7/test.txt", "summary.csv"]


def test_a_line_break_in_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line break"):
        write_splits(tmp_path, [small_split()], lambda stem: Path(f"a\u2028b/{stem}"))


def test_table_is_aligned() -> None:
    lines = format_splits(summary_rows([small_split()])).splitlines()
    assert lines[0] == (
        "split   part   patients  groups  frames  share %  lesion frames  healthy frames  boxes  small  medium  large"
        "  S1  S2"
    )
    assert lines[1] == (
        "split1  train         2       2       4     57.1              3               1      3      0       0      0"
        "   3   1"
    )
    assert format_splits([]) == ""


def test_the_table_counts_boxes_by_size_and_frames_by_modality() -> None:
    lesion, healthy = frames("e", 1, 1, "S1")
    sized = dataclasses.replace(lesion, modality="NBI", n_boxes=6, n_small=3, n_medium=2, n_large=1)
    split: Split = {**small_split(), "val": [sized, healthy]}
    _, val, test = summary_rows([split])
    assert (val["boxes"], val["small"], val["medium"], val["large"]) == (6, 3, 2, 1)
    assert (val["modality:NBI"], val["modality:WL"], test["modality:NBI"]) == (1, 1, 0)
    assert "NBI  WL" in format_splits([val, test])


def test_shares_leave_frames_set_aside_out() -> None:
    split = set_healthy_aside({"train": frames("a", 4, 4, "S"), "val": frames("b", 1, 5, "S"),
                               "test": frames("c", 1, 0, "S")})  # fmt: skip
    shares = {row["part"]: row["share_%"] for row in summary_rows([split])}
    assert shares == {"train": 80.0, "val": 10.0, "val_healthy": "", "test": 10.0, "test_healthy": ""}


def test_without_splits_nothing_is_listed_and_earlier_lists_go(tmp_path: Path) -> None:
    write_splits(tmp_path, [small_split()], Path)
    (tmp_path / "split9").mkdir()
    (tmp_path / "split9/train.txt").write_text("mine\n")
    assert write_splits(tmp_path, [], Path) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["split9", "train.txt"]
    assert independence_note([], "image") == []


def test_a_patient_too_large_for_the_ratios_is_named_by_hash() -> None:
    items = frames("anna", 60, 0, "S") + frames("ben", 20, 0, "S") + frames("cleo", 20, 0, "S")
    section = SplitSection(n_splits=2)
    (note,) = ratio_notes(hold_outs(items, section), section, "patient")
    assert note == (
        "2 of 2 splits are more than 2 points from dataset.split.ratios 89:7:4, e.g. split1 with train 60.0 %, val "
        "20.0 %, test 20.0 %: no nearer one was found that cuts no patient; "
        f"#{hashed_id('anna')} alone holds 60 % of these frames, 3 hold them all"
    )
    fitting = SplitSection(n_splits=2, ratios=(62, 19, 19))
    assert ratio_notes(hold_outs(items, fitting), fitting, "patient") == []


def test_lesions_too_few_for_ratios_of_their_own_are_told() -> None:
    items = [item for p in range(60) for item in frames(f"p{p}", p % 6 == 0, 4, "S")]
    section = SplitSection(n_splits=1, lesion_only_eval=True)
    (note,) = ratio_notes(hold_outs(items, section), section, "patient")
    assert note.startswith("dataset.split.ratios 89:7:4 are those of all frames, healthy held-out ones too")


def test_an_external_set_says_how_it_is_evaluated() -> None:
    note = external_note(DatasetSection(name="ext", processed="data/ext/processed", nc=1, names=("lesion",)))
    assert "put ext: {processed: data/ext/processed} under dataset.external" in note
    assert "`python evaluate.py --data ext dataset.external.ext.processed=data/ext/processed`" in note


def test_notes_say_what_a_split_cannot_show() -> None:
    by_sequence: Split = {part: [SplitItem(part, f"{part}.jpg", "anna", f"anna/{part}")] for part in PARTS}
    assert independence_note([by_sequence], "sequence") == [
        "split by sequence (dataset.group), so NOT patient-independent: 1 patients have frames in more than one part"
    ]
    assert independence_note([small_split()], "image") == ["split by image (dataset.group), so NOT patient-independent"]
    assert independence_note([small_split()], "patient") == []
    repeated = repeat_notes([small_split(), by_sequence, small_split()])
    assert repeated == ["split3 trains on the same frames as split1: too few groups for others"]


def test_a_list_edited_by_hand_is_kept_under_another_name(tmp_path: Path) -> None:
    splits = [{part: [SplitItem(f"{part}1", f"{part}1.jpg", part, part)] for part in PARTS}]
    write_splits(tmp_path, splits, lambda stem: tmp_path / f"{stem}.jpg")
    assert set_edited_lists_aside(tmp_path) == []
    for number, name in enumerate(("test.edited.txt", "test.edited2.txt")):
        (tmp_path / "split1/test.txt").write_text(f"mine {number}\n")
        assert set_edited_lists_aside(tmp_path) == [tmp_path / "split1" / name]
        assert (tmp_path / "split1" / name).read_text() == f"mine {number}\n"
        write_splits(tmp_path, splits, lambda stem: tmp_path / f"{stem}.jpg")
    for damage in ("[", "[" * 200_000, "7"):
        (tmp_path / WRITTEN).write_text(damage)
        assert set_edited_lists_aside(tmp_path) == []
