"""The robustness study: paired changes by hand, cells kept and remade, the command's faults, the whole of it once."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from evaluation_samples import SIDE, frame_result, write_prepared_set
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.errors import run_command
from evaluation.robustness import __main__ as robustness
from evaluation.robustness.study import MEASURES, corruption_rows, flat_rows, format_study, source_rows
from evaluation.statistics.headline import Scoring

LESION = (10, 10, 60, 60, 0)
HIT, MISS = (10, 10, 60, 60, 0, 0.9), (300, 300, 350, 350, 0, 0.8)


def scoring(**section):
    from data_utils.config.sections import EvalSection

    return Scoring(("lesion",), 0.5, 0.001, SIDE, EvalSection.model_validate({"resamples": 200} | section))


def passed(found_by_stem, source="made"):
    """One frame a stem, with one lesion; each its own patient."""
    from dataclasses import replace

    return [
        replace(frame_result([LESION], found, stem=stem), source=source, group=stem, patient_id=stem)
        for stem, found in found_by_stem.items()
    ]


CLEAN = passed({"a": [HIT], "b": [HIT], "c": [HIT], "d": [HIT, MISS]})


def test_changes_are_from_the_same_frames_clean():
    worse = passed({"d": [MISS], "a": [HIT], "b": [HIT, MISS], "c": [HIT]})  # in another order
    clean, row = corruption_rows(CLEAN, {("blur", 2): worse}, scoring(), 0.5)
    assert (clean["name"], clean["severity"], clean["change"]) == ("clean", 0, None)
    assert (row["name"], row["severity"], row["n_frames"], row["n_boxes"], row["n_units"]) == ("blur", 2, 4, 4, 4)
    assert row["value"]["recall"]["value"] == 0.75
    assert row["change"]["recall"]["value"] == -0.25
    assert row["change"]["fp_per_frame"]["value"] == 0.25  # 1 false alarm in 4 frames before, 2 after
    assert row["change"]["recall"]["low"] <= -0.25 <= row["change"]["recall"]["high"] <= 0


def test_a_pass_that_changes_nothing_has_a_change_of_zero_without_spread():
    _, row = corruption_rows(CLEAN, {("blur", 1): CLEAN}, scoring(), 0.5)
    for measure in MEASURES:
        change = row["change"][measure]
        assert (change["value"], change["se"], change["low"]) == (0, 0, None)
    assert row["value"]["fp_per_frame"]["low"] < row["value"]["fp_per_frame"]["high"]  # unpaired, it has one


def test_sources_are_scored_alone_and_left_out():
    good = passed({"a": [HIT], "b": [HIT]}, "here")
    bad = passed({"c": [HIT], "d": [MISS], "e": [MISS]}, "there")
    rows = {row["name"]: row for row in source_rows([*good, *bad], scoring(), 0.5)}
    assert list(rows) == ["only here", "without here", "only there", "without there"]
    assert [row["n_frames"] for row in rows.values()] == [2, 3, 3, 2]
    assert rows["only here"]["value"]["recall"]["value"] == 1
    assert rows["without here"]["value"] == rows["only there"]["value"]
    assert rows["only there"]["change"]["recall"]["value"] == pytest.approx(1 / 3 - 1)  # from all others
    assert rows["without there"]["change"]["recall"]["value"] == pytest.approx(1 - 3 / 5)  # from all frames
    assert source_rows(good, scoring(), 0.5) == []


def test_without_truth_or_detections_values_are_none_and_nothing_is_nan():
    healthy = [frame_result(stem="a"), frame_result(stem="b")]
    rows = corruption_rows(healthy, {("noise", 1): healthy}, scoring(), None)
    assert rows[1]["value"]["ap50"]["value"] is None
    assert rows[1]["value"]["fp_per_frame"]["value"] == 0
    text = json.dumps([rows, flat_rows(rows)], allow_nan=False)
    assert "NaN" not in text
    record = {"weights": "w.pt", "data": "x", "n_frames": 2, "rows": rows, "notes": [], "unit": "frame", "imgsz": SIDE,
              "threshold": {"value": None, "origin": "nowhere"}, "scoring": scoring().as_dict()}  # fmt: skip
    report = format_study(record)
    assert "nan" not in report.lower()
    assert "n/a" in report


def test_a_change_shows_the_digit_that_decides_and_that_all_rows_are_one_training():
    worse = passed({"a": [HIT], "b": [HIT], "c": [MISS], "d": [HIT]})
    rows = corruption_rows(CLEAN, {("noise", 1): worse}, scoring(), 0.5)
    rows[1]["change"]["recall"] |= {"value": -0.02, "bca_low": -0.04, "bca_high": -0.0002}
    record = {"weights": "w.pt", "data": "x", "n_frames": 4, "rows": rows, "notes": [], "unit": "patient",
              "imgsz": SIDE, "threshold": {"value": 0.5, "origin": "val"}, "scoring": scoring().as_dict()}  # fmt: skip
    report = format_study(record)
    assert "-0.0200 [-0.0400, -0.0002]" in report
    assert "All rows are of one training" in report


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in an empty folder; returns its exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["robustness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(robustness.main)
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def prepared(tmp_path, part="val"):
    overrides = write_prepared_set(tmp_path)
    splits = tmp_path / "splits" / "split1"
    (splits / f"{part}.txt").write_text((splits / "test.txt").read_text())
    weights = write_tiny_checkpoint(tmp_path / "tiny.pt", decoder="none")
    return ["--weights", weights, "--device", "cpu", *overrides, "run.workers=0", "eval.resamples=50"]


def test_bad_usage_is_one_line(run, tmp_path):
    weights = write_tiny_checkpoint(tmp_path / "tiny.pt", decoder="none")
    cases = {
        ("--only", "fog"): "fog: choose among blur",
        ("--severities", "6"): "--severities 6",
        ("--data", "tset"): "did you mean 'test'",
        (): "split1",  # no list
    }
    for extra, words in cases.items():
        code, out, complaint = run("--weights", weights, "--device", "cpu", *extra)
        assert (code, out, len(complaint.strip().splitlines())) == (2, "", 1), complaint
        assert words in complaint


def test_a_killed_study_goes_on_and_finished_cells_are_not_run_again(run, tmp_path):
    arguments = prepared(tmp_path)
    code, out, said = run(*arguments, "--only", "noise", "--severities", 1, 3)
    assert code == 0, said
    assert said.splitlines() == ["clean: 5 frames", "noise 1: 5 frames", "noise 3: 5 frames"]
    cells = tmp_path / "results" / "robustness_tiny_lesions_split1_val"
    kept = {path.name: path.read_bytes() for path in cells.iterdir()}
    # A torn cell, and one of another corruption than its name says, are made again; nothing else is.
    torn = cells / "predictions_noise_1.jsonl"
    torn.write_bytes(kept[torn.name][:-20])
    foreign = cells / "predictions_noise_3.jsonl"
    head, _, rest = kept[foreign.name].decode().partition("\n")
    foreign.write_text(json.dumps(json.loads(head) | {"cell": "0" * 12}) + "\n" + rest)
    code, out, said = run(*arguments, "--only", "noise", "jpeg", "--severities", 1, 3)
    assert code == 0, said
    assert said.splitlines() == ["noise 1: 5 frames", "noise 3: 5 frames", "jpeg 1: 5 frames", "jpeg 3: 5 frames"]
    assert {path.name: path.read_bytes() for path in cells.iterdir()}.items() >= kept.items()
    record = json.loads((tmp_path / "results" / "robustness_tiny_lesions_split1_val.json").read_text())
    names = [(row["name"], row["severity"]) for row in record["rows"]]
    assert names == [("clean", 0), ("noise", 1), ("noise", 3), ("jpeg", 1), ("jpeg", 3)]
    assert "best F1 on the clean validation" in out or "best F1 on the clean frames" in out
    # Other resamples need no new pass; other detection settings do.
    assert run(*arguments[:-1], "eval.resamples=20", "--only", "sources")[2] == ""
    assert run(*arguments, "eval.nms_iou=0.5", "--only", "sources")[2].splitlines() == ["clean: 5 frames"]


def test_corrupted_frames_reach_the_model_and_the_clean_ones_stay_as_they_are():
    import torch

    from data_utils.imaging.corruptions import corrupt
    from evaluation.robustness.passes import corrupted

    frames = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    batch = {"lr_image": frames.clone(), "img_path": ["/x/a.png", "/x/b.png"], "labels": "kept"}
    [bad] = corrupted([batch], "noise", 2)
    assert bad["labels"] == "kept"
    assert torch.equal(batch["lr_image"], frames)
    assert (bad["lr_image"].dtype, bad["lr_image"].shape) == (torch.uint8, frames.shape)
    for index, stem in enumerate("ab"):
        expected = corrupt(np.ascontiguousarray(frames[index].permute(1, 2, 0).numpy()), "noise", 2, stem)
        np.testing.assert_array_equal(bad["lr_image"][index].permute(1, 2, 0).numpy(), expected)


def test_validation_spends_nothing_and_a_test_list_goes_into_the_ledger_once_a_start(run, tmp_path):
    arguments = prepared(tmp_path)
    assert run(*arguments, "--only", "jpeg", "--severities", 2)[0] == 0
    ledger = tmp_path / "results" / "test_ledger.jsonl"
    assert not ledger.exists()
    code, out, said = run(*arguments, "--data", "test", "--only", "jpeg", "--severities", 2)
    assert (code, said.splitlines()) == (0, ["clean: 5 frames", "jpeg 2: 5 frames"])  # val's clean pass was kept
    assert "scored once" in out
    assert "best F1 on validation frames" in out
    [line] = map(json.loads, ledger.read_text().splitlines())
    assert "evaluation.robustness" in line["command"]
    assert "scored 2 times" in run(*arguments, "--data", "test", "--only", "jpeg", "--severities", 2)[1]


@pytest.mark.integration
def test_the_whole_study(run, tmp_path):
    code, out, said = run(*prepared(tmp_path))
    assert code == 0, said
    assert len(said.splitlines()) == 36
    written = [tmp_path / line.removeprefix("written: ") for line in out.splitlines() if line.startswith("written: ")]
    assert [path.suffix for path in written] == [".json", ".csv", ".png"]
    record = json.loads(written[0].read_text())
    assert len(record["rows"]) == 36  # clean, 7 kinds at 5 severities; one source has no rows
    assert len(written[1].read_text().splitlines()) == 37
    assert "nan" not in (written[1].read_text() + out).lower()
    assert "p0" not in (written[0].read_text() + out)  # no patient's id
