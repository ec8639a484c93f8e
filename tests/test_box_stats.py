"""The command on boxes of known size: what it writes, what it says, what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from labelled_frames import labelled_config, write_frames

from data_utils.box_stats import box_statistics, plots, report
from data_utils.box_stats.__main__ import main
from data_utils.errors import InputError
from data_utils.prepare import prepare

NAMES = ("cell", "platelet")
# Frames of 640x480 at LR 320: a cell of 32x48 LR pixels is 64x72 in the frame, a platelet of 6x6 is 12x9.
CELL, PLATELET = (0, 0.1, 0.15), (1, 0.01875, 0.01875)
FRAMES = [[CELL, CELL], [PLATELET], [], [CELL]]


def overrides(folder: Path) -> list[str]:
    return [f"dataset.processed='{folder / 'processed'}'", f"dataset.splits='{folder / 'splits'}'", "dataset.nc=2",
            "dataset.names=[cell, platelet]", "imgsz_lr=320", "imgsz_hr=640",
            f"run.results_dir='{folder / 'results'}'"]  # fmt: skip


def test_the_command_measures_the_training_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_frames(tmp_path, FRAMES)
    assert main(overrides(tmp_path)) == 0
    out = tmp_path / "results/box_stats"
    assert {path.name for path in out.iterdir()} == {
        "box_stats.yaml", "boxes.csv", "sizes.png", "sides.png", "aspect_ratios.png"
    }  # fmt: skip
    saved = yaml.safe_load((out / "box_stats.yaml").read_text())
    assert (saved["frames"], saved["imgsz_lr"], saved["strides"]) == ("4 frames of split1/train", 320, [8, 16, 32])
    assert saved["sizes"] == {
        "lr": {"small": 1, "medium": 3, "large": 0}, "original": {"small": 1, "medium": 3, "large": 0}
    }  # fmt: skip
    assert [(c["width"], c["height"], c["boxes"]) for c in saved["clusters"]["centres"]] == [(6, 6, 1), (32, 48, 3)]
    assert saved["p2_head"]["share_below_8px"] == 0.25
    with (out / "boxes.csv").open(newline="") as stream:
        rows = [tuple(row.values()) for row in csv.DictReader(stream)]
    assert rows == [("cell", "32.0", "48.0", "64.0", "72.0")] * 2 + [
        ("platelet", "6.0", "6.0", "12.0", "9.0"), ("cell", "32.0", "48.0", "64.0", "72.0")
    ]  # fmt: skip
    text = capsys.readouterr().out
    assert "4 boxes in 4 frames of split1/train, input 320 px, strides 8, 16, 32" in text
    assert "advisable: 25.0% of the boxes have a shorter side under 8 px; model.detector=yolov8n-p2" in text
    assert "YOLOv8 and later have no anchors" in text
    assert all(str(path) in text for path in out.iterdir())


def test_the_manifest_has_all_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plots, "draw_box_plots", lambda folder: [])
    write_frames(tmp_path, FRAMES)
    listed = (tmp_path / "splits/split1/train.txt").read_text().splitlines()
    (tmp_path / "splits/split1/train.txt").write_text(listed[1] + "\n")
    config = labelled_config(tmp_path, NAMES)
    one = box_statistics(config, 1, 9, 0, tmp_path / "one")
    everything = box_statistics(config, None, 9, 0, tmp_path / "all")
    assert (one["n_boxes"], everything["n_boxes"]) == (1, 4)
    assert everything["frames"] == "4 frames of the manifest"
    assert one["classes"]["cell"] == {"boxes": 0}
    assert "\ncell          0  " in report(one)  # a class without a box has a line, of dashes


def test_same_seed_same_files(tmp_path: Path):
    write_frames(tmp_path, [[(k % 2, 0.02 + 0.004 * k, 0.3 - 0.003 * k)] for k in range(60)])
    config = labelled_config(tmp_path, NAMES)
    for folder in ("a", "b"):
        box_statistics(config, 1, 4, 5, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path):
    images = write_frames(tmp_path, [[], []])
    with pytest.raises(InputError, match=r"train\.txt: none of its 2 frames holds a box"):
        main(overrides(tmp_path))
    with pytest.raises(InputError, match=r"manifest\.csv: none of its 2 frames holds a box"):
        main(["--data", "all", *overrides(tmp_path)])
    with pytest.raises(InputError, match=r"split2/train\.txt: no such split list"):
        main(["--split", "2", *overrides(tmp_path)])
    stranger = images[0].with_name("stranger.jpg")
    stranger.touch()
    (tmp_path / "splits/split1/train.txt").write_text(f"{images[0]}\n{stranger}\n")
    with pytest.raises(InputError, match=r"train\.txt: 1 of 2 images are not in .*manifest\.csv, .*stranger\.jpg"):
        main(overrides(tmp_path))
    (tmp_path / "processed/manifest.csv").unlink()
    with pytest.raises(InputError, match=r"manifest\.csv: no manifest; run"):
        main(overrides(tmp_path))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("bad", [["--clusters", "0"], ["--seed", "-1"], ["--data", "val"]])
def test_bad_arguments_are_usage_errors(bad: list[str]):
    with pytest.raises(SystemExit) as left:
        main(bad)
    assert left.value.code == 2


@pytest.mark.integration
def test_real_blood_cells(shared_data: Path, repo_root: Path, tmp_path: Path):
    from data_utils.config.loading import load_config

    config = load_config(repo_root / "configs/bccd.yaml", [
        f"dataset.raw='{shared_data / 'bccd'}'", f"dataset.processed='{tmp_path / 'processed'}'",
        f"dataset.splits='{tmp_path / 'splits'}'", f"dataset.filter_log='{tmp_path / 'log.csv'}'",
    ])  # fmt: skip
    prepare(config, workers=1, progress=False)
    found = box_statistics(config, 1, 9, 42, tmp_path / "out")
    assert found["n_boxes"] == 2804
    assert found["clusters"]["average_best_iou"] > 0.88
    median = {name: row["median_width_lr_px"] for name, row in found["classes"].items()}
    assert median["Platelets"] < median["RBC"] < median["WBC"]
    assert not found["p2_head"]["advisable"]
