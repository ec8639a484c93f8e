"""The command, and the gate before training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from audit_samples import (
    add_frame,
    config_of,
    cropped,
    halved,
    make_set,
    recompressed,
    settings_of,
    texture,
    write_list,
)
from conftest import REPO_ROOT, PreparedSet
from small_raw_set import config_for, run_prepare
from training_processes import script

from data_utils.audit import audit, likeness, require_clean
from data_utils.audit.__main__ import main
from data_utils.audit.likeness import FILE_NAME
from data_utils.config.loading import override_config
from data_utils.errors import InputError
from data_utils.imaging.images import write_image
from data_utils.manifest import read_manifest
from data_utils.splits.search import hashed_id


def leak(folder: Path, bgr, *, part: str = "test", patient: str = "") -> None:
    add_frame(folder / "out", "x", bgr, patient)
    write_list(folder, part, ["f8", "f9", "x"])


def counts(folder: Path) -> dict[str, int]:
    record = json.loads((folder / "results" / "audit.json").read_text())
    return {check["check"]: check["found"] for check in record["checks"]
            if check["found"] and check["check"] != "patients in val and test"}  # these sets are small


def test_a_clean_set_passes_and_leaves_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(tmp_path)
    assert main(settings_of(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "audit: passed" in out
    assert "textures: 10 frames in split1" in out
    assert counts(tmp_path) == {}
    assert (tmp_path / "results" / "audit_pairs.csv").read_text().count("\n") == 1
    assert not (tmp_path / "results" / "audit_pairs.png").exists()


@pytest.mark.parametrize(
    "change", [lambda bgr: bgr, recompressed, halved, cropped, lambda bgr: bgr[:, ::-1]],
    ids=["renamed", "recompressed", "halved", "cropped", "flipped"],
)  # fmt: skip
def test_a_planted_copy_stops_with_one_line(tmp_path: Path, change, capsys: pytest.CaptureFixture[str]) -> None:
    make_set(tmp_path)
    leak(tmp_path, change(texture(3)))
    with pytest.raises(InputError, match=r"audit of textures: split1: 1 x (identical files|near-dup).*known_pairs|id"):
        main(settings_of(tmp_path))
    found = counts(tmp_path)
    assert found.keys() <= {"identical files", "near-duplicates", "one patient under two ids"}
    assert (tmp_path / "results" / "audit_pairs.png").stat().st_size > 1000
    assert "f3.jpg" in (tmp_path / "results" / "audit_pairs.csv").read_text()
    assert "LEAK" in capsys.readouterr().out


def test_the_exit_code_is_2_and_no_id_is_shown(tmp_path: Path) -> None:
    make_set(tmp_path)
    leak(tmp_path, texture(40), patient="patient of f0")
    line = [sys.executable, "-m", "data_utils.audit", "--split", "1", *settings_of(tmp_path)]
    done = subprocess.run(line, cwd=REPO_ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert hashed_id("patient of f0") in done.stderr
    written = "".join(path.read_text() for path in (tmp_path / "results").glob("audit*.[jc]*"))
    assert "patient of" not in done.stdout + done.stderr + written


def test_all_splits_or_one(tmp_path: Path) -> None:
    config = make_set(tmp_path)
    for part, stems in (("train", ["f0", "f1"]), ("val", ["f2"]), ("test", ["f3"])):
        write_list(tmp_path, part, stems, split=2)
    leak(tmp_path, recompressed(texture(3)))
    assert audit(config).splits == ["split1", "split2"]
    assert audit(config, [1]).has_leak
    assert audit(config, [2]).verdict.startswith("passed")
    with pytest.raises(InputError, match=r"split lists, first .*split7/train\.txt: no such split list"):
        require_clean(config, 7)


def test_a_warning_passes_and_is_told(tmp_path: Path) -> None:
    config = make_set(tmp_path)
    config.dataset.manifest.unlink()
    assert require_clean(config, 1) == "passed with 1 warnings"


def test_a_file_that_cannot_be_trained_on_stops(tmp_path: Path) -> None:
    config = make_set(tmp_path)
    (config.dataset.lr_images / "f4.jpg").write_bytes(b"no picture")
    (config.dataset.lr_images.parent / "labels" / "f5.txt").write_text("3 0.5 0.5 0.1 0.1\n")
    report = audit(config)
    assert (report.verdict, [f.check for f in report.blocking]) == ("errors", ["unreadable frames", "unusable labels"])


def test_the_second_audit_decodes_nothing_and_sees_a_changed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_set(tmp_path)
    first = audit(config)
    decoded: list[Path] = []
    describe = likeness.describe
    monkeypatch.setattr(likeness, "describe", lambda path: decoded.append(path) or describe(path))
    assert audit(config) == first
    assert decoded == []
    write_image(config.dataset.lr_images / "f9.jpg", recompressed(texture(3)))  # behind the manifest's back
    assert audit(config).has_leak
    assert [path.name for path in decoded] == ["f9.jpg"]


def test_a_look_before_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    config = make_set(tmp_path)
    leak(tmp_path, recompressed(texture(3)))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=r"known_pairs with a reason$"):
        require_clean(config, 1, write=False, skippable=False)
    with pytest.raises(InputError, match="--skip-audit"):
        require_clean(config, 1, write=False)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(InputError, match=r"see .*audit\.json.*audit_pairs\.png; --skip-audit"):
        require_clean(config, 1)


def test_the_sets_that_prepare_makes_pass(raw: Path, tiny_prepared: PreparedSet) -> None:
    run_prepare(raw, "dataset.split={ratios: [60, 20, 20], n_splits: 1}")
    assert audit(config_for(raw)).blocking == []
    assert audit(tiny_prepared.config, write=False).blocking == []


def test_a_copy_of_a_raw_frame_under_another_patient_is_found_after_prepare(raw: Path) -> None:
    shutil.copy(raw / "images" / "p0 0.png", raw / "images" / "copy.png")
    shutil.copy(raw / "labels" / "p0 0.txt", raw / "labels" / "copy.txt")
    with (raw / "metadata.csv").open("a") as stream:
        stream.write("copy.png,P9,S1,NBI\n")
    run_prepare(raw, "dataset.split={ratios: [60, 20, 20], n_splits: 3}")
    config = config_for(raw)
    rows = read_manifest(config.dataset.manifest)
    assert rows["copy"].content_hash == rows["p0 0"].content_hash
    for number in (1, 2, 3):
        sides = [p for p in ("train", "val", "test") for s in ("copy.jpg", "p0 0.jpg")
                 if s in config.dataset.split_list(number, p).read_text()]  # fmt: skip
        assert audit(config, [number]).has_leak == (len(set(sides)) == 2)


def test_training_is_refused_on_a_leak_unless_told_otherwise(tmp_path: Path) -> None:
    make_set(tmp_path)
    leak(tmp_path, recompressed(texture(3)))
    refused = script("train.py", "--dry-run", *settings_of(tmp_path))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "near-duplicates" in refused.stderr
    assert "--skip-audit" in refused.stderr
    allowed = script("train.py", "--dry-run", "--skip-audit", *settings_of(tmp_path))
    assert allowed.returncode == 0, allowed.stderr
    assert "audit    skipped" in allowed.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.integration
@pytest.mark.parametrize(("flags", "said"), [((), "passed with 1 warnings"), (("--skip-audit",), "skipped")])
def test_the_run_record_says_how_the_audit_went(tiny_prepared: PreparedSet, tmp_path: Path, flags, said: str) -> None:
    changes = ["sr_decoder=none", f"run.results_dir='{tmp_path}'", f"run.weights_dir='{tmp_path}'", "run.name=run"]
    config = override_config(tiny_prepared.config, changes)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    done = script("train.py", "--config", str(tmp_path / "run.yaml"), "--device", "cpu", "--wandb-off", *flags)
    assert done.returncode == 0, done.stderr
    assert f"audit    {said}" in done.stdout
    record = json.loads((tmp_path / "runs" / "run" / "run.json").read_text())
    assert record["audit"] == said
    assert "result" in record


def test_the_cache_lies_with_the_prepared_frames(tmp_path: Path) -> None:
    audit(make_set(tmp_path))
    assert (tmp_path / "out" / FILE_NAME).read_text().count("\n") == 10
    assert config_of(tmp_path).dataset.processed == str(tmp_path / "out")
