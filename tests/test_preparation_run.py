"""What preparing writes, redoes and removes, and what it refuses, on a small raw set."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_raw_set import (
    LESION,
    N_PATIENTS,
    add_frame,
    changed,
    exclusions,
    noise,
    run_prepare,
    save,
    snapshot,
)

from data_utils.errors import InputError
from data_utils.manifest import read_manifest
from data_utils.prepare import frame_jobs
from data_utils.prepare.folders import FILE_NAME, read_state
from data_utils.preprocess import check_pairs


def test_a_raw_set_becomes_pairs_labels_manifest_and_splits(raw: Path) -> None:
    source = snapshot(raw)
    report = run_prepare(raw)
    out = raw.parent / "out"
    assert snapshot(raw) == source
    assert (report.n_read, report.n_kept, report.n_written, report.n_reused) == (12, 12, 12, 0)
    assert (report.n_native, report.n_upsampled, report.n_boxes) == (2, 10, 6)
    frame = cv2.imread(str(raw / "images/p3 0.png"))
    lr_image = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert (out / "lr/images/p3 0.jpg").read_bytes() == cv2.imencode(".jpg", lr_image, [1, 95])[1].tobytes()
    assert check_pairs(out / "lr/images", out / "hr/images") == []
    assert (out / "lr/labels/p3 0.txt").read_text().split() == ["0", "0.5", "0.25", "0.1", "0.2"]
    assert (out / "lr/labels/p3 1.txt").read_bytes() == b""
    row = read_manifest(out / "manifest.csv")["p0 1"]
    assert (row.filename, row.patient_id, row.dataset_source, row.modality) == ("images/p0 1.png", "P0", "S1", "NBI")
    assert (row.width, row.height, row.hr_kind, row.n_boxes) == (64, 64, "native", 0)
    content = (raw / "images/p0 1.png").read_bytes()
    assert row.content_hash == hashlib.blake2b(content, digest_size=16).hexdigest()
    assert exclusions(raw) == {}
    for k in (1, 2, 3):
        parts = [(raw.parent / f"splits/split{k}/{p}.txt").read_text().splitlines() for p in ("train", "val", "test")]
        assert all(Path(line).is_file() and Path(line).is_absolute() for part in parts for line in part)
        patients = [{Path(line).stem.split()[0] for line in part} for part in parts]
        assert sum(map(len, patients)) == len(set.union(*patients)) == N_PATIENTS
    text = report.text()
    assert "12 frames read, 12 kept with 6 boxes, 0 excluded" in text
    assert "2 native, 10 upsampled" in text
    assert str(out / "manifest.csv") in text
    assert text.count("\nsplit2") == 3


def test_a_rerun_touches_nothing(raw: Path) -> None:
    run_prepare(raw)
    before = snapshot(raw.parent)
    report = run_prepare(raw)
    after = snapshot(raw.parent)
    assert (report.n_written, report.n_reused, report.n_labels_written) == (0, 12, 0)
    assert {n: content for n, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    assert changed(snapshot(raw.parent / "out"), {n.removeprefix("out/"): v for n, v in before.items()}) == set()


def test_a_changed_label_rewrites_only_the_label(raw: Path) -> None:
    run_prepare(raw)
    before = snapshot(raw.parent / "out")
    (raw / "labels/p2 1.txt").write_text(LESION * 1 + "0 0.1 0.1 0.1 0.1\n")
    report = run_prepare(raw)
    assert changed(before, snapshot(raw.parent / "out")) == {"lr/labels/p2 1.txt"}
    assert (report.n_written, report.n_reused, report.n_labels_written) == (0, 12, 1)
    assert read_manifest(raw.parent / "out/manifest.csv")["p2 1"].n_boxes == 2


def test_a_changed_frame_rewrites_only_its_pair(raw: Path) -> None:
    run_prepare(raw)
    before = snapshot(raw.parent / "out")
    save(raw / "images/p2 1.png", noise(60, 999))
    assert run_prepare(raw).n_written == 1
    assert changed(before, snapshot(raw.parent / "out")) == {"lr/images/p2 1.jpg", "hr/images/p2 1.jpg"}


def test_a_damaged_copy_is_made_again(raw: Path) -> None:
    run_prepare(raw)
    before = snapshot(raw.parent / "out")
    (raw.parent / "out/hr/images/p1 0.jpg").write_bytes(b"")
    (raw.parent / "out/lr/images/p1 1.jpg").unlink()
    assert run_prepare(raw).n_written == 2
    assert {n: c for n, (c, _) in snapshot(raw.parent / "out").items()} == {n: c for n, (c, _) in before.items()}


def test_a_removed_frame_takes_its_copies_along(raw: Path) -> None:
    run_prepare(raw)
    (raw.parent / "out/lr/images/mine.jpg").write_bytes(b"by hand")
    (raw / "images/p4 0.png").unlink()
    (raw / "labels/p4 0.txt").unlink()
    report = run_prepare(raw)
    assert (report.n_read, report.n_removed, report.n_reused) == (11, 1, 11)
    names = {path.name for path in (raw.parent / "out").rglob("*")}
    assert not {"p4 0.jpg", "p4 0.txt"} & names
    assert "mine.jpg" in names
    assert any("left alone" in note and "mine.jpg" in note for note in report.notes)


def test_thresholds_are_judged_again_without_decoding(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_frame(raw, "soft.png", "P5")
    save(raw / "images/soft.png", cv2.GaussianBlur(noise(64, 5), (9, 9), 2))
    run_prepare(raw, "dataset.filter.blur_thresh=1")
    before = snapshot(raw.parent / "out")

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(frame_jobs, "decode_bgr", refuse)
        report = run_prepare(raw, "dataset.filter.blur_thresh=500")
        assert (report.n_kept, report.n_removed, dict(report.excluded)) == (12, 1, {"blurred": 1})
        assert exclusions(raw).keys() == {"images/soft.png"}
        gone = {"lr/images/soft.jpg", "hr/images/soft.jpg", "lr/labels/soft.txt"}
        assert changed(before, snapshot(raw.parent / "out")) == gone
        assert run_prepare(raw, "dataset.filter.blur_thresh=500").n_removed == 0
    report = run_prepare(raw, "dataset.filter.blur_thresh=1")
    assert (report.n_written, report.n_reused) == (1, 12)
    assert {n: c for n, (c, _) in snapshot(raw.parent / "out").items()} == {n: c for n, (c, _) in before.items()}


def test_another_size_or_format_replaces_the_copies(raw: Path) -> None:
    run_prepare(raw)
    report = run_prepare(raw, "dataset.image_format=png", "imgsz_lr=64", "imgsz_hr=128")
    assert (report.n_written, report.n_native) == (12, 0)
    copies = [path for kind in ("lr", "hr") for path in (raw.parent / "out" / kind / "images").iterdir()]
    assert Counter(path.suffix for path in copies) == {".png": 24}
    assert cv2.imread(str(raw.parent / "out/hr/images/p1 0.png")).shape == (128, 128, 3)
    assert (raw.parent / "splits/split1/val.txt").read_text().splitlines()[0].endswith(".png")
    assert run_prepare(raw, "dataset.image_format=png", "imgsz_lr=64", "imgsz_hr=128").n_reused == 12


def test_every_exclusion_is_logged_with_its_reason(raw: Path) -> None:
    for name in ("dark", "broken", "black"):
        add_frame(raw, f"{name}.png", "P1")
    save(raw / "images/dark.png", noise(64, 1) // 10)
    save(raw / "images/black.png", np.zeros((64, 64, 3), np.uint8))
    whole = (raw / "images/broken.png").read_bytes()
    (raw / "images/broken.png").write_bytes(whole[:-200])
    report = run_prepare(raw, "dataset.max_unreadable=0.1")
    assert (report.n_read, report.n_kept, report.n_excluded) == (15, 12, 3)
    assert report.excluded == {"dark": 2, "unreadable": 1, "blurred": 1}
    assert "3 excluded (some for several reasons)" in report.text()
    reasons = exclusions(raw)
    assert reasons.keys() == {"images/dark.png", "images/broken.png", "images/black.png"}
    assert "unreadable: " in reasons["images/broken.png"]
    assert "blurred: " in reasons["images/black.png"]
    assert "; dark: mean grey 0 < 30" in reasons["images/black.png"]
    assert not list((raw.parent / "out").rglob("broken.*"))
    assert not read_manifest(raw.parent / "out/manifest.csv").keys() & {"dark", "broken", "black"}


def test_too_many_unreadable_frames_stop_it_and_are_listed(raw: Path) -> None:
    (raw / "images/p3 0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(
        InputError, match=r"1 of 12 frames are unreadable, 8\.3% where dataset.max_unreadable allows 5"
    ) as e:
        run_prepare(raw)
    assert "p3 0.png" in str(e.value)
    assert exclusions(raw).keys() == {"images/p3 0.png"}
    assert not (raw.parent / "out/manifest.csv").exists()
    assert run_prepare(raw, "dataset.max_unreadable=0.09").n_reused == 11


def test_a_filter_that_keeps_nothing_says_so(raw: Path) -> None:
    with pytest.raises(InputError, match=r"all 12 frames were excluded \(12 blurred\), see .*log.csv; thresholds"):
        run_prepare(raw, "dataset.filter.blur_thresh=1e9")


def test_interrupted_it_leaves_whole_files_and_goes_on(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_prepare(raw)
    clean = {n: c for n, (c, _) in snapshot(raw.parent / "out").items()}
    shutil.rmtree(raw.parent / "out")
    really_write, calls = frame_jobs.write_image, []

    def write_nine(path: Path, *rest: object) -> None:
        calls.append(path)
        if len(calls) > 9:  # four pairs and the LR half of the fifth
            raise KeyboardInterrupt
        really_write(path, *rest)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patched:
        patched.setattr(frame_jobs, "write_image", write_nine)
        with pytest.raises(KeyboardInterrupt):
            run_prepare(raw)
    out = raw.parent / "out"
    assert not (out / "manifest.csv").exists()
    assert len(read_state(out / FILE_NAME)) == 4
    with (out / FILE_NAME).open("a") as stream:
        stream.write('{"stem": "torn')
    (out / "lr/images/.tmp-1-2").write_bytes(b"half")
    report = run_prepare(raw)
    assert (report.n_written, report.n_reused) == (8, 4)
    assert {n: c for n, (c, _) in snapshot(out).items()} == clean


def test_a_patient_in_two_parts_of_a_predefined_split_is_refused(raw: Path) -> None:
    for part, patients in {"train": (0, 1, 2), "val": (3, 4), "test": (5, 2)}.items():
        frames = [f"p{p} {1 if (part, p) == ('test', 2) else 0}" for p in patients]
        (raw / f"{part}.txt").write_text("\n".join(frames))
    lists = "{train: [train.txt], val: [val.txt], test: [test.txt]}"
    split = [f"dataset.split.predefined={lists}", "dataset.split.n_splits=1"]
    with pytest.raises(InputError, match=r"patient #[0-9a-f]{8} is in train and in test"):
        run_prepare(raw, *split)
    report = run_prepare(raw, *split, "dataset.group=image")
    assert any("NOT patient-independent: 1 patients have frames" in note for note in report.notes)
    assert [row["frames"] for row in report.split_rows] == [3, 2, 2]
    assert "5 prepared frames are in no part of the predefined split" in report.notes
    with pytest.raises(InputError, match="n_splits = 3: a predefined split is one"):
        run_prepare(raw, *split[:1])
