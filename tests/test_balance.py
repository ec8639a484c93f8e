"""The balanced list, its table, the command, and what training makes of the list."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from labelled_frames import labelled_config, write_frames

from data_utils.balance import Rule, balance_split, prepared_splits
from data_utils.balance.__main__ import main
from data_utils.config.loading import override_config
from data_utils.errors import InputError
from data_utils.lists import checked_train_list, read_split_list

NAMES = ("cell", "platelet")
COMMON, RARE = (0, 0.2, 0.2), (1, 0.1, 0.1)
# 6 frames of cells, 2 of platelets beside two cells, 1 healthy: platelets have factor 8/2.
FRAMES = [[COMMON]] * 6 + [[RARE, COMMON, COMMON]] * 2 + [[]]


def listed(path: Path) -> list[int]:
    """How often each frame stands in a list, by frame number."""
    counts = Counter(path.read_text().splitlines())
    return [counts[line] for line in sorted(counts)]


def test_the_list_its_table_and_nothing_else(tmp_path: Path):
    images = write_frames(tmp_path, FRAMES)
    folder = tmp_path / "splits/split1"
    before = (folder / "train.txt").read_bytes()
    done = balance_split(labelled_config(tmp_path, NAMES).dataset, 1, Rule())
    assert sorted(path.name for path in folder.iterdir()) == ["train.txt", "train_balanced.csv", "train_balanced.txt"]
    assert (folder / "train.txt").read_bytes() == before
    lines = done.path.read_text().splitlines()
    assert lines == [str(path) for path in images[:6]] + [str(images[6])] * 4 + [str(images[7])] * 4 + [str(images[8])]
    with (folder / "train_balanced.csv").open(newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert rows == [
        ("cell", "1.00", "8", "14", "10", "22"),
        ("platelet", "4.00", "2", "8", "2", "8"),
        ("(healthy)", "", "1", "1", "0", "0"),
        ("(all)", "", "9", "15", "12", "30"),
    ]
    assert done.notes == ["most frequent / rarest class, by images: 4.00 -> 1.75, by boxes: 5.00 -> 2.75"]


def test_entries_stay_as_they_are_written(tmp_path: Path):
    write_frames(tmp_path, FRAMES)
    lines = [f"../../processed/lr/images/f{k:04}.jpg" for k in range(9)]
    (tmp_path / "splits/split1/train.txt").write_bytes(("\ufeff" + "\r\n\r\n".join(lines)).encode())
    done = balance_split(labelled_config(tmp_path, NAMES).dataset, 1, Rule())
    assert done.path.read_text().splitlines() == [*lines[:6], *[lines[6]] * 4, *[lines[7]] * 4, lines[8]]
    assert len(read_split_list(done.path, repeats=True)) == 15


def test_same_seed_same_list_and_another_seed_another(tmp_path: Path):
    write_frames(tmp_path, [[COMMON]] * 30 + [[RARE]] * 20)
    dataset = labelled_config(tmp_path, NAMES).dataset
    texts = [balance_split(dataset, 1, Rule(seed=seed)).path.read_bytes() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert [len(text.splitlines()) for text in texts] == [60, 60, 60]


def test_cap_and_power(tmp_path: Path):
    write_frames(tmp_path, [[COMMON]] * 16 + [[RARE]])
    dataset = labelled_config(tmp_path, NAMES).dataset
    for rule, times in ((Rule(cap=3), 3), (Rule(cap=1), 1), (Rule(cap=99), 16), (Rule(cap=99, power=0.5), 4)):
        assert listed(balance_split(dataset, 1, rule).path)[-1] == times


def test_one_class_has_nothing_to_balance_unless_healthy_frames_count(tmp_path: Path):
    write_frames(tmp_path, [[COMMON]] * 2 + [[]] * 6)
    dataset = labelled_config(tmp_path, ("lesion",)).dataset
    plain = balance_split(dataset, 1, Rule())
    assert listed(plain.path) == [1] * 8
    assert plain.notes == ["nothing to balance: fewer than two classes occur, so every image stands once; --healthy "
                           "weighs lesion against healthy frames"]  # fmt: skip
    healthy = balance_split(dataset, 1, Rule(healthy=True))
    assert listed(healthy.path) == [3, 3, 1, 1, 1, 1, 1, 1]
    assert [row["factor"] for row in healthy.rows] == ["3.00", "1.00", ""]
    assert healthy.notes == ["most frequent / rarest class, by images: 3.00 -> 1.00"]


def test_only_healthy_frames_are_left_as_they_are(tmp_path: Path):
    write_frames(tmp_path, [[]] * 3)
    done = balance_split(labelled_config(tmp_path, NAMES).dataset, 1, Rule(healthy=True))
    assert listed(done.path) == [1, 1, 1]
    assert done.notes[0] == "no training image shows cell, platelet; repeating cannot help there"
    assert done.notes[1].startswith("nothing to balance")


def test_boxes_that_come_along_are_told(tmp_path: Path):
    write_frames(tmp_path, [[COMMON]] * 4 + [[RARE] * 20] * 2)  # rare by images, yet most of the boxes
    done = balance_split(labelled_config(tmp_path, NAMES).dataset, 1, Rule())
    assert done.notes == [
        "most frequent / rarest class, by images: 2.00 -> 1.00, by boxes: 10.00 -> 20.00",
        "by boxes it grew: repeated images bring all their boxes along, also many of one class",
    ]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command's arguments for FRAMES, which are prepared here in split1, with a split3 of its first 7 frames."""
    paths = write_frames(tmp_path, FRAMES)
    (tmp_path / "splits/split3").mkdir()
    (tmp_path / "splits/split3/train.txt").write_text("".join(f"{path}\n" for path in paths[:7]))
    (tmp_path / "splits/split3/val.txt").write_text("not looked at\n")
    (tmp_path / "splits/split_mine").mkdir()
    (tmp_path / "splits/split_mine/train.txt").write_text("not a split\n")
    return [f"dataset.processed='{tmp_path / 'processed'}'", f"dataset.splits='{tmp_path / 'splits'}'", "dataset.nc=2",
            "dataset.names=[cell, platelet]"]  # fmt: skip


def test_the_command_balances_every_split(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--cap", "3", *command]) == 0
    assert listed(tmp_path / "splits/split1/train_balanced.txt") == [1] * 6 + [3, 3, 1]
    assert listed(tmp_path / "splits/split3/train_balanced.txt") == [1] * 6 + [3]
    assert [path.name for path in tmp_path.rglob("*balanced.txt")] == ["train_balanced.txt"] * 2
    text = capsys.readouterr().out
    assert "split1: 9 images -> 13 lines (1.44 times)\n" in text
    assert "\nplatelet   3.00                2             6             2            6\n" in text
    assert "next: python train.py" in text
    assert text.endswith(" dataset.balanced=true\n")


def test_one_split_alone(command: list[str], tmp_path: Path):
    assert main(["--split", "3", *command]) == 0
    assert [path.parent.name for path in tmp_path.rglob("*balanced.txt")] == ["split3"]


@pytest.mark.parametrize(
    "bad", [["--cap", "0"], ["--power", "0"], ["--power", "1.5"], ["--power", "nan"], ["--seed", "-1"]]
)
def test_bad_arguments_are_usage_errors(bad: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main(bad)
    assert left.value.code == 2
    assert f"{bad[0]} {bad[1]}: " in capsys.readouterr().err


def test_missing_lists_and_bad_labels_are_named(command: list[str], tmp_path: Path):
    with pytest.raises(InputError, match=r"split2/train\.txt: no such split list; run `python -m data_utils\.prepare`"):
        main(["--split", "2", *command])
    (tmp_path / "processed/lr/labels/f0001.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"f0001\.txt:1: class id 7"):
        main(command)
    assert not list(tmp_path.rglob("*balanced*"))
    with pytest.raises(InputError, match=r"nowhere: holds no split<k>/train\.txt; run"):
        prepared_splits(labelled_config(tmp_path, NAMES, "dataset.splits=nowhere").dataset)


# --- the list that training reads


def test_training_reads_the_list_that_the_settings_name(tmp_path: Path):
    write_frames(tmp_path, FRAMES)
    config = labelled_config(tmp_path, NAMES)
    balanced = override_config(config, ["dataset.balanced=true"]).dataset
    assert checked_train_list(config.dataset, 1) == tmp_path / "splits/split1/train.txt"
    with pytest.raises(InputError, match=r"balanced\.txt: no such list.* `python -m data_utils\.balance --split 1`"):
        checked_train_list(balanced, 1)
    balance_split(balanced, 1, Rule())
    assert checked_train_list(balanced, 1) == tmp_path / "splits/split1/train_balanced.txt"


@pytest.mark.parametrize(("kept", "more", "counts"), [
    (slice(1, None), [], "0 images of train.txt are not in it, 1 of its own"),
    (slice(None), ["new.jpg"], "1 images of train.txt are not in it, 0 of its own"),
])  # fmt: skip
def test_a_stale_list_is_refused(tmp_path: Path, kept: slice, more: list[str], counts: str):
    images = write_frames(tmp_path, FRAMES)
    dataset = labelled_config(tmp_path, NAMES, "dataset.balanced=true").dataset
    balance_split(dataset, 1, Rule())
    new = [images[0].with_name(name) for name in more]
    for path in new:
        path.touch()
    (tmp_path / "splits/split1/train.txt").write_text("".join(f"{path}\n" for path in [*images[kept], *new]))
    with pytest.raises(InputError, match=f"stale: {counts}.*data_utils\\.balance --split 1"):
        checked_train_list(dataset, 1)


def test_the_list_may_hold_repeats_only_where_they_are_asked_for(tmp_path: Path):
    write_frames(tmp_path, FRAMES)
    done = balance_split(labelled_config(tmp_path, NAMES).dataset, 1, Rule())
    with pytest.raises(InputError, match=r"train_balanced\.txt:8: repeats line 7"):
        read_split_list(done.path)
