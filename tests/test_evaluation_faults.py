"""Faults planted before an evaluation: one line with exit code 2, or defined values; and no patient's name anywhere."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest
from evaluation_samples import write_prepared_set
from tiny_checkpoint import write_tiny_checkpoint

import evaluate
from data_utils.errors import run_command
from evaluation import score

PATIENT = "Mueller-Anna-1967"
NOT_A_NUMBER = re.compile(r"\bnan\b|\binf\b|infinity", re.IGNORECASE)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command's main in this process, in an empty folder; returns its exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)

    def command(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(main)
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


@pytest.fixture
def prepared(tmp_path):
    """A prepared set of five frames; returns its folder."""
    write_prepared_set(tmp_path)
    return tmp_path / "processed"


@pytest.fixture
def asked(tmp_path, prepared):
    """The arguments of a quick evaluation of a tiny detector on the prepared set."""
    weights = write_tiny_checkpoint(tmp_path / "tiny.pt", decoder="none")
    places = [f"dataset.processed={prepared}", f"dataset.splits={tmp_path}/splits", f"run.results_dir={tmp_path}/out"]
    return ["--weights", weights, "--device", "cpu", "--fps-iters", 1, *places, "run.workers=0", "eval.resamples=20"]


def refused(finished, *words):
    code, out, said = finished
    assert (code, out, len(said.strip().splitlines())) == (2, "", 1), said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0 nan 0.5 0.25 0.25\n", "frame_1.txt:1"),
        (b"0 0.5 0.5 0.25 0.25\n0 0.5 inf 0.25 0.25\n", "frame_1.txt:2"),
        (b"0 0.5 0.5 0.25\n", "frame_1.txt:1"),
        (b"\x00\xff\xfe\x80", "frame_1.txt"),
        (b"0 1.5 0.5 0.25 0.25\n", "frame_1.txt:1"),  # outside
        (b"0 0.5 0.5 0 0.25\n", "frame_1.txt:1"),  # no area
        (b"2 0.5 0.5 0.25 0.25\n", "frame_1.txt:1"),  # of no class
        (b"0.5 0.5 0.5 0.25 0.25\n", "frame_1.txt:1"),
    ],
)
def test_a_bad_label_is_named_by_file_and_line(run, asked, prepared, tmp_path, content, words):
    (prepared / "lr/labels/frame_1.txt").write_bytes(content)
    refused(run(evaluate.main, *asked), words)
    assert not (tmp_path / "out").exists()


def test_a_missing_label_a_missing_partner_and_one_of_another_size_are_named(run, asked, prepared, tmp_path):
    import cv2

    (prepared / "lr/labels/frame_1.txt").rename(tmp_path / "kept.txt")
    refused(run(evaluate.main, *asked), "frame_1")
    (tmp_path / "kept.txt").rename(prepared / "lr/labels/frame_1.txt")
    with_branch = ["--weights", write_tiny_checkpoint(tmp_path / "branch.pt"), *asked[2:]]
    partner = prepared / "hr/images/frame_2.png"
    picture = cv2.imread(str(partner))
    cv2.imwrite(str(partner), picture[:-8])
    refused(run(evaluate.main, *with_branch), "frame_2")
    partner.unlink()
    refused(run(evaluate.main, *with_branch), "frame_2")


def test_an_empty_list_and_disagreeing_classes_stop_before_the_model_runs(run, asked, tmp_path):
    refused(run(evaluate.main, *asked, "dataset.nc=3"), "3", "2")
    refused(run(evaluate.main, *asked, "dataset.names=[lesion]", "dataset.nc=1"), "['lesion', 'polyp']", "['lesion']")
    (tmp_path / "splits/split1/test.txt").write_text("\n")
    refused(run(evaluate.main, *asked), "test.txt")
    (tmp_path / "empty").mkdir()
    refused(run(score.main, tmp_path / "empty"), "predictions_*.jsonl")


def test_damaged_weights_are_refused_with_the_reason(run, asked, tmp_path):
    whole = (tmp_path / "tiny.pt").read_bytes()
    for name, content in (("torn", whole[:-200]), ("empty", b""), ("text", b"not weights")):
        (tmp_path / f"{name}.pt").write_bytes(content)
        refused(run(evaluate.main, "--weights", f"{name}.pt", *asked[2:]), f"{name}.pt")
    assert not (tmp_path / "out").exists()


@pytest.mark.integration
@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("found", [True, False])
def test_without_truth_or_detections_or_either_all_values_are_defined(run, asked, prepared, tmp_path, truth, found):
    if not truth:
        for label in (prepared / "lr/labels").iterdir():
            label.write_text("")
    splits = tmp_path / "splits/split1"
    (splits / "val.txt").write_text((splits / "test.txt").read_text())
    extra = [] if found else ["conf_thresh=0.9999"]
    code, out, said = run(evaluate.main, *asked, *extra, "--save-csv")
    assert (code, said) == (0, "")
    again = run(score.main, tmp_path / "out")
    assert again[0] == 0, again[2]
    record = json.loads((tmp_path / "out/eval_tiny_lesions_split1_test.json").read_text())
    n_found = sum(len(json.loads(line).get("scores", [])) for line in
                  (tmp_path / "out/predictions_tiny_lesions_split1_test.jsonl").read_text().splitlines())  # fmt: skip
    assert (n_found > 0) == found
    assert record["metrics"]["n_boxes"] == (4 if truth else 0)
    assert (record["metrics"]["ap50"] is None) == (not truth)
    if truth and not found:
        assert (record["metrics"]["ap50"], record["metrics"]["recall"]) == (0, 0)
    if not found:
        assert record["metrics"]["intervals"]["fp_per_frame"]["value"] == 0
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir() if path.suffix != ".lock")
    for text in (out, again[1], written):
        assert not NOT_A_NUMBER.search(text), NOT_A_NUMBER.search(text)
    with (tmp_path / "out/eval_tiny_lesions_split1_test.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) > 20


@pytest.mark.integration
def test_torn_last_lines_are_left_out_and_reported_by_the_command(run, asked, tmp_path):
    assert run(evaluate.main, *asked)[0] == 0
    out = tmp_path / "out"
    ledger, files = out / "test_ledger.jsonl", {kind: out / f"{kind}_tiny_lesions_split1_test.jsonl"
                                                for kind in ("predictions", "truth")}  # fmt: skip
    for kind, path in files.items():
        whole = path.read_bytes()
        path.write_bytes(whole[:-9])
        code, report, said = run(score.main, out)
        assert (code, said) == (0, "")
        assert f"{kind}_tiny_lesions_split1_test.jsonl: the last line is torn" in report
        assert "numbers are of 4 frames" in report
        path.write_bytes(b"\n".join([*whole.splitlines()[:2], b"{torn", *whole.splitlines()[2:]]))
        refused(run(score.main, out), f"{path.name}:3")
        path.write_bytes(whole)
    scored_before = len(ledger.read_text().splitlines())
    ledger.write_bytes(ledger.read_bytes()[:-9])
    report = run(score.main, out)[1]
    assert "1 torn lines of the ledger not counted" in report
    assert len(ledger.read_text().splitlines()) == scored_before + 1
    assert "scored" in report


@pytest.mark.integration
def test_no_patients_name_is_written_or_printed(run, asked, prepared, tmp_path):
    manifest = prepared / "manifest.csv"
    rows = list(csv.reader(manifest.open()))
    for row in rows[1:]:
        row[rows[0].index("patient_id")] = row[rows[0].index("group")] = f"{PATIENT}-{row[0]}"
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    splits = tmp_path / "splits/split1"
    (splits / "val.txt").write_text((splits / "test.txt").read_text())
    printed = [run(evaluate.main, *asked, "--save-csv"), run(score.main, tmp_path / "out")]
    assert [code for code, _, _ in printed] == [0, 0]
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"test_ledger.jsonl", "truth_tiny_lesions_split1_test.jsonl"} <= {path.name for path in written}
    for text in [*(out + said for _, out, said in printed), *(path.read_text() for path in written)]:
        assert PATIENT not in text
    # The name is really there to leak, and patients are still told apart.
    assert PATIENT in manifest.read_text()
    assert len(set(_patients(tmp_path / "out/truth_tiny_lesions_split1_test.jsonl"))) == 5


def _patients(truth: Path) -> list[str]:
    return [line["patient"] for line in map(json.loads, truth.read_text().splitlines()) if "patient" in line]
