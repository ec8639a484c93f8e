"""The middle of the report: what is missing becomes a sentence in its section."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reported_run import some_results, write_run, write_surroundings

from evaluation.report.page import curve_sections, picture_sections, table_sections, training_section
from evaluation.report.run_files import read_run


def kinds(section):
    return [part.kind for part in section.parts]


def words(section):
    return " ".join(part.words for part in section.parts if part.kind == "text")


@pytest.fixture
def full(tmp_path):
    write_surroundings(tmp_path, some_results())
    return read_run(write_run(tmp_path, some_results(), validation=some_results()))


def test_a_whole_run_has_every_part(full):
    detection, _, calibration = curve_sections(full)
    assert kinds(detection) == ["charts", "table", "folded"]
    assert [chart.title for chart in detection.parts[0].charts] == [
        "Precision and recall",
        "FROC",
        "Over the score threshold",
    ]
    assert kinds(calibration) == ["charts", "text", "folded"]
    breakdown, healthy, confusion, sweep = table_sections(full)
    assert [kinds(section) for section in (breakdown, healthy, confusion, sweep)] == [
        ["table"] * 4, ["table"], ["table"], ["table", "text"]]  # fmt: skip
    assert "set off in the table: confidence 0.3" in words(sweep)
    assert kinds(training_section(full)) == ["charts"]
    reconstruction, cases = picture_sections(full, with_pictures=True)
    assert (kinds(reconstruction), kinds(cases)) == (["gallery"], ["text", "gallery", "gallery"])
    assert [words(section) for section in picture_sections(full, with_pictures=False)] == [
        "Pictures were left out on request (--no-pictures)."] * 2  # fmt: skip


def test_enough_lesions_give_a_curve_over_size(tmp_path):
    many = [replace(frame, stem=f"{frame.stem}_{i}", truth_xyxy=frame.truth_xyxy * (1 + i / 20)) for i in range(5)
            for frame in some_results()[:2]]  # fmt: skip
    _, size, _ = curve_sections(read_run(write_run(tmp_path, many)))
    assert kinds(size) == ["charts", "text", "folded"]
    assert "15 objects" in words(size)


def test_a_bare_run_says_what_it_lacks(tmp_path):
    files = read_run(write_run(tmp_path, some_results()[:1]))
    _, size, _ = curve_sections(files)
    assert "too few objects" in words(size)
    _, healthy, _, sweep = table_sections(files)
    assert "no healthy frames" in words(healthy)
    assert "no sweep" in words(sweep)
    assert "no training curves" in words(training_section(files))
    reconstruction, cases = picture_sections(files, with_pictures=True)
    assert "No picture panel" in words(reconstruction)
    assert "not pictured" in words(cases)


def test_nothing_detected_and_nothing_to_detect(tmp_path):
    silent = [replace(frame, detections=frame.detections.above(1.0)) for frame in some_results()]
    detection, _, calibration = curve_sections(read_run(write_run(tmp_path, silent)))
    assert "Nothing was detected" in words(detection)
    assert "No detection scores 0.1" in words(calibration)
    detection, *_ = curve_sections(read_run(write_run(tmp_path, [])))
    assert "hold no object" in words(detection)


def test_reconstruction_quality_and_a_torn_panel(tmp_path):
    record_file = write_run(tmp_path, some_results())
    (tmp_path / "panels").mkdir()
    (tmp_path / "panels" / "epoch_001.npz").write_bytes(b"torn")
    files = read_run(record_file)
    files.metrics.update(psnr=30.0, psnr_bicubic=29.0, n_sr_frames=8)
    (reconstruction, _) = picture_sections(files, with_pictures=True)
    assert words(reconstruction).startswith("Mean PSNR over 8 frames: 30.00 dB, bicubic upsampling 29.00 dB.")
    assert "cannot be shown" in words(reconstruction)
