"""One frame and many: the same copies from one process and from several."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from small_raw_set import (
    add_frame,
    noise,
    run_prepare,
    save,
    snapshot,
)

from data_utils.config.sections import FilterSection
from data_utils.prepare import frame_jobs
from data_utils.prepare.frame_jobs import CopySettings, FrameJob, process_frame, remove_copies, resized_pair
from data_utils.records import Annotation


def test_processes_write_what_one_process_writes(raw: Path) -> None:
    for i in range(frame_jobs.MIN_FRAMES_FOR_POOL):
        add_frame(raw, f"more{i}.png", f"P{i % 3}", seed=i)
    (raw / "images/more3.png").write_bytes(b"not an image")
    one = run_prepare(raw, workers=1)
    written = {n: c for n, (c, _) in snapshot(raw.parent / "out").items()}
    shutil.rmtree(raw.parent / "out")
    assert run_prepare(raw, workers=2) == one
    assert {n: c for n, (c, _) in snapshot(raw.parent / "out").items()} == written


def settings_in(folder: Path, **changes: object) -> CopySettings:
    thresholds = FilterSection(min_bytes=None)
    return replace(CopySettings(folder, 32, 64, ".png", 95, thresholds), **changes)  # type: ignore[arg-type]


def job_for(tmp_path: Path, bgr: np.ndarray) -> FrameJob:
    save(tmp_path / "a.png", bgr)
    return FrameJob(tmp_path / "a.png", "stem", Annotation(np.array([[0.5, 0.25, 0.1, 0.2]]), np.array([0])))


def test_a_pair_is_resized_from_the_original() -> None:
    frame = noise(50, 1)[:30]
    lr_image, hr_image = resized_pair(frame, 32, 64)
    np.testing.assert_array_equal(lr_image, cv2.resize(frame, (32, 32), interpolation=cv2.INTER_LINEAR))
    np.testing.assert_array_equal(hr_image, cv2.resize(frame, (64, 64), interpolation=cv2.INTER_CUBIC))


def test_a_frame_is_written_then_reused_then_excluded(tmp_path: Path) -> None:
    settings, job = settings_in(tmp_path / "out"), job_for(tmp_path, noise(70, 1))
    first = process_frame(job, settings, None)
    assert (first.action, first.reasons, first.label_written) == ("written", (), True)
    assert settings.label("stem").read_text() == "0 0.5 0.25 0.1 0.2\n"
    assert [cv2.imread(str(path)).shape[0] for path in settings.copies("stem")] == [32, 64]
    again = process_frame(job, settings, first.record)
    assert (again.action, again.label_written, again.record) == ("reused", False, first.record)
    strict = replace(settings, thresholds=FilterSection(blur_thresh=1e9))
    excluded = process_frame(job, strict, first.record)
    assert (excluded.action, [reason.kind for reason in excluded.reasons]) == ("excluded", ["blurred"])


def test_settings_that_change_the_copies_change_their_key(tmp_path: Path) -> None:
    png = settings_in(tmp_path)
    jpg = replace(png, suffix=".jpg")
    keys = [png, replace(png, lr_side=64), replace(png, hr_side=128), jpg, replace(jpg, jpeg_quality=90)]
    assert len({settings.copies_key for settings in keys}) == len(keys)
    unchanged = replace(png, jpeg_quality=90, thresholds=FilterSection(blur_thresh=None), processed=tmp_path / "x")
    assert unchanged.copies_key == png.copies_key


def test_what_cannot_be_read_is_a_reason(tmp_path: Path) -> None:
    settings, job = settings_in(tmp_path / "out"), job_for(tmp_path, noise(70, 1))
    job.image_path.write_bytes(job.image_path.read_bytes()[:500])
    for path in (job.image_path, tmp_path / "gone.png"):
        outcome = process_frame(replace(job, image_path=path), settings, None)
        assert (outcome.action, outcome.record) == ("excluded", None)
        (reason,) = outcome.reasons
        assert reason.kind == "unreadable"
        assert path.name in reason.detail
    assert not (tmp_path / "out").exists()


def test_remove_copies_takes_one_frame_or_one_format(tmp_path: Path) -> None:
    settings, job = settings_in(tmp_path / "out"), job_for(tmp_path, noise(70, 1))
    other = replace(job, stem="other")
    for used in (settings, replace(settings, suffix=".jpg")):
        process_frame(job, used, None)
        process_frame(other, used, None)
    remove_copies("stem", settings, keep_suffix=".png")
    names = sorted(path.name for path in (tmp_path / "out").rglob("stem.*"))
    assert names == ["stem.png", "stem.png", "stem.txt"]
    remove_copies("stem", settings)
    assert not list((tmp_path / "out").rglob("stem.*"))
    assert len(list((tmp_path / "out").rglob("other.*"))) == 5
