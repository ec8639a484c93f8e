"""Near-duplicates of kept frames: found within a group, left out, and kept again when the reason is gone."""

from __future__ import annotations

from pathlib import Path

import cv2
from small_raw_set import add_frame, changed, exclusions, run_prepare, save, snapshot

from data_utils.manifest import read_manifest
from data_utils.prepare.steps import KeptFrames

LIMIT = "dataset.filter.near_duplicate_bits=4"


def test_the_most_similar_kept_frame_of_the_group_is_named() -> None:
    kept = KeptFrames()
    assert kept.nearest("P1", "0" * 16) == ("", 64)
    kept.add("P1", "a", "f" * 16)
    kept.add("P1", "b", "0" * 15 + "7")
    kept.add("P1", "c", "0" * 15 + "7")
    kept.add("P2", "d", "0" * 16)
    assert kept.nearest("P1", "0" * 16) == ("b", 3)
    assert kept.nearest("P2", "f" * 16) == ("d", 64)
    assert kept.nearest("P3", "0" * 16) == ("", 64)


def add_copy(raw: Path, of: str, name: str, patient: str) -> Path:
    """A recompressed copy of a frame, under another name."""
    path = add_frame(raw, name, patient)
    save(path, cv2.GaussianBlur(cv2.imread(str(raw / "images" / of)), (0, 0), 0.6))
    return path


def test_a_copy_of_the_same_patient_is_left_out_and_stays_out(raw: Path) -> None:
    add_copy(raw, "p0 0.png", "p0 copy.png", "P0")
    report = run_prepare(raw, LIMIT)
    assert report.excluded == {"near-duplicate": 1}
    assert exclusions(raw)["images/p0 copy.png"].startswith("near-duplicate: of p0 0, ")
    assert not list((raw.parent / "out").rglob("p0 copy.*"))
    before = snapshot(raw.parent / "out")
    again = run_prepare(raw, LIMIT)
    assert (again.n_written, again.n_removed, again.excluded) == (0, 0, report.excluded)
    assert changed(before, snapshot(raw.parent / "out")) == set()


def test_it_comes_back_when_the_test_is_switched_off_or_its_model_is_gone(raw: Path) -> None:
    copy = add_copy(raw, "p0 0.png", "p0 copy.png", "P0")
    run_prepare(raw, LIMIT)
    assert run_prepare(raw).n_written == 1
    assert run_prepare(raw, LIMIT).n_removed == 1
    save(raw / "images" / "p0 0.png", 255 - cv2.imread(str(copy)))
    assert run_prepare(raw, LIMIT).excluded == {}
    assert read_manifest(raw.parent / "out/manifest.csv")["p0 copy"].nearest_bits > 4


def test_a_copy_under_another_patient_is_kept_for_the_audit_to_see(raw: Path) -> None:
    add_copy(raw, "p0 0.png", "p1 copy.png", "P1")
    assert run_prepare(raw, LIMIT).excluded == {}
