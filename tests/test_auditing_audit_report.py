"""The table, the verdict and the files of an audit."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from audit_samples import texture

from data_utils.audit.report import AuditReport, Finding, FramePair
from data_utils.config.sections import AuditSection
from data_utils.imaging.images import write_image

CLEAN = (
    Finding("split1", "copies", "leak", ()),
    Finding("split2", "copies", "leak", ()),
    Finding("all", "labels", "error", ()),
)


def report(*findings: Finding, pairs: tuple[FramePair, ...] = ()) -> AuditReport:
    return AuditReport("a set", ["split1", "split2"], 10, AuditSection(), findings or CLEAN, pairs)


def test_a_clean_set_passes() -> None:
    clean = report()
    assert (clean.verdict, clean.blocking, clean.has_leak) == ("passed", [], False)
    lines = clean.text().splitlines()
    assert lines[0] == "a set: 10 frames in split1, split2"
    assert [line.split() for line in lines[2:5]] == [
        ["check", "split1", "split2", "all", "verdict"], ["copies", "0", "0", "ok"], ["labels", "0", "ok"],
    ]  # fmt: skip
    assert lines[-1] == "audit: passed"


def test_warnings_pass_and_are_counted() -> None:
    odd, hint = Finding("all", "odd boxes", "warning", ["a:1: odd"]), Finding("all", "hints", "note", ["b"])
    warned = report(*CLEAN, odd, hint)
    assert warned.verdict == "passed with 1 warnings"
    assert "a:1: odd" in warned.text()


def test_the_complaint_is_one_line_that_begins_with_the_leak() -> None:
    leak = Finding("split2", "copies", "leak", [f"pair {i}" for i in range(5)], "regroup them")
    bad = report(Finding("all", "labels", "error", ["x.txt:3: bad"]), leak)
    assert bad.verdict == "leak"
    expected = "audit of a set: split2: 5 x copies, first pair 0 (and 1 more checks failed); regroup them"
    assert bad.complaint() == expected
    text = bad.text()
    assert "pair 2" in text
    assert "pair 3" not in text
    assert "and 2 more" in text
    assert report(Finding("all", "labels", "error", ["x.txt:3: bad"])).verdict == "errors"


def test_the_files_hold_the_checks_and_the_pairs(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        write_image(tmp_path / name, texture(0))
    a, b = (str(tmp_path / name) for name in ("a.jpg", "b.jpg"))
    pair = FramePair("split1", "near-duplicates", "val", a, "train", b, 0.91)
    leak = Finding("split1", "near-duplicates", "leak", [str(pair)] * 300)
    files = report(leak, pairs=(pair, replace(pair, split="split2", accepted="seen"))).write(tmp_path / "results")
    assert [path.name for path in files] == ["audit.json", "audit_pairs.csv", "audit_pairs.png"]
    record = json.loads(files[0].read_text())
    assert (record["verdict"], record["frames"], record["checks"][0]["found"]) == ("leak", 10, 300)
    assert len(record["checks"][0]["messages"]) == 200
    with files[1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["split"], row["likeness"], row["accepted"]) for row in rows] == [
        ("split1", "0.91", ""), ("split2", "0.91", "seen"),
    ]  # fmt: skip
    assert rows[0]["file_a"].endswith("a.jpg")
    report().write(tmp_path / "results")
    assert not files[2].exists()  # the picture of leaks that are gone


@pytest.mark.parametrize("scope", ["split1", "all"])
def test_a_count_stands_in_its_column(scope: str) -> None:
    row = report(Finding(scope, "copies", "note", ["a", "b"])).text().splitlines()[3]
    assert row.split() == ["copies", "2", "note"]
