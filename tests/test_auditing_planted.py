"""Planting copies and counting those found."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from audit_samples import LR, config_of, texture
from conftest import REPO_ROOT

from data_utils.audit.likeness import describe_bytes
from data_utils.auditing.planted import COLUMNS, cut_videos, false_alarms, kinds, main, measure, recall
from data_utils.config.loading import load_config
from data_utils.imaging.images import encode_image, write_image


def printed(seed: int):
    return describe_bytes(encode_image(texture(seed), ".jpg", 95), str(seed))


def test_recall_is_the_share_of_copies_found_with_their_own_frame(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    base = {f"f{seed}": printed(seed) for seed in range(10)}
    planted = {"f1": printed(1), "f2": printed(2), "f3": printed(4), "f5": printed(99)}  # the third is of another frame
    assert recall(config, base, planted) == {
        "frames": 4, "found": 2, "share": 0.5, "edge_likeness": 1.0, "pairs": 2,
    }  # fmt: skip


def test_false_alarms_are_pairs_of_different_groups(tmp_path: Path) -> None:
    base = {f"f{seed}": printed(seed) for seed in range(6)} | {"f6": printed(0), "f7": printed(1)}
    groups = {stem: stem for stem in base} | {"f7": "f1"}
    counted = false_alarms(config_of(tmp_path), base, groups)
    assert (counted["frames"], counted["found"], counted["pairs"]) == (8, 2, 1)
    known = "dataset.audit.known_pairs=[{frames: [f0, f6], reason: seen}]"
    near = {**base, "f6": describe_bytes(encode_image(texture(0), ".jpg", 50), "f6")}
    assert false_alarms(config_of(tmp_path, known), near, groups)["found"] == 0


def test_a_video_that_is_cut_is_found(tmp_path: Path) -> None:
    base = {f"clip{index:02}": printed(0) for index in range(10)}
    assert cut_videos(config_of(tmp_path), base) | {"pairs": 0} == {
        "frames": 2, "found": 2, "share": 1.0, "edge_likeness": 1.0, "pairs": 0,
    }  # fmt: skip


def test_the_kinds_do_what_they_are_called() -> None:
    bgr = texture(0, 200)
    shapes = {kind: change(bgr).shape[:2] for kind, change in kinds().items()}
    assert shapes["resized by half"] == (100, 100)
    assert shapes["cropped by 5 % of each side"] == (190, 190)
    assert shapes["cropped by 5 % at each edge"] == (180, 180)
    assert shapes["cropped by 5 % at the left edge"] == (200, 190)
    assert (kinds()["flipped left-right"](bgr) == bgr[:, ::-1]).all()
    assert (kinds()["recompressed at quality 40"](bgr) != bgr).any()


def test_the_command_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(6):
        write_image(tmp_path / "raw" / "images" / f"v{seed % 2}" / f"{seed}.jpg", texture(seed, 200))
        label = tmp_path / "raw" / "labels" / f"v{seed % 2}" / f"{seed}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("")
    overrides = [f"dataset.raw='{tmp_path / 'raw'}'", "dataset.format=yolo", "dataset.metadata=null",
                 "dataset.group=sequence", r"dataset.group_pattern='(?P<sequence>v\d)/'"]  # fmt: skip
    config = load_config(REPO_ROOT / "configs" / "train.yaml", [*overrides, f"imgsz_lr={LR}", f"imgsz_hr={2 * LR}"])
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    out = tmp_path / "recall.csv"
    assert main(["--config", str(tmp_path / "set.yaml"), "--copies", "3", "--out", str(out)]) == 0
    assert "written" in capsys.readouterr().out
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    copies = [row for row in rows if row["frames"] == "3"]
    assert len(copies) == 1 + 2 * len(kinds())
    assert {row["share"] for row in copies} == {"1.0"}
    assert [row["found"] for row in rows if row["planted"].startswith("nothing")] == ["0"]


@pytest.mark.integration
@pytest.mark.parametrize("name", ["bccd", "vocalfolds"])
def test_on_real_frames_every_copy_is_found_and_no_distinct_frame(shared_data: Path, name: str) -> None:
    config = load_config(REPO_ROOT / "configs" / f"{name}.yaml", [f"dataset.raw='{shared_data / name}'"])
    rows = list(measure(config, copies=12, seed=1))
    copies = [row for row in rows if row["frames"] == 12]
    missed = {(row["planted"], row["level"]): row["share"] for row in copies if row["share"] != 1.0}
    assert {key for key in missed if "cropped" not in key[0]} == set()
    assert all(float(str(share)) > 0.9 for share in missed.values())
    (distinct,) = (row for row in rows if str(row["planted"]).startswith("nothing"))
    assert float(str(distinct["share"])) <= 0.01
