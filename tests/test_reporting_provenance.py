"""Where numbers come from: hashes, commands, dates, the audit's verdict without the names in its messages."""

from __future__ import annotations

import json

from reported_run import STEM, some_results, write_run, write_surroundings

from evaluation.report.run_files import read_run
from evaluation.report.tables import NOT_RECORDED, data_section, ledger_words, provenance_section
from evaluation.scoring.ledger import note_scoring


def facts(files):
    return dict(provenance_section(files).parts[0].rows)


def test_hashes_commands_and_dates(tmp_path):
    record_file = write_run(tmp_path, some_results())
    write_surroundings(tmp_path, some_results())
    before = facts(read_run(record_file))
    assert before["evaluation command"] == NOT_RECORDED
    assert before["evaluated"].endswith("(date of the file)")
    files = read_run(record_file)
    note_scoring(tmp_path, files.about, "python evaluate.py")
    rows = facts(read_run(record_file))
    assert rows["weights, SHA-256"] == "ab" * 32
    assert rows["list of frames, hash"] == files.about["list_sha256"]
    assert (rows["evaluation command"], "date of" in rows["evaluated"]) == ("python evaluate.py", False)
    assert rows["training command"] == "train.py --split '<1>'"
    assert rows["training versions"] == "torch 9.9"
    assert "numpy" in rows["versions where this page was drawn"]


def test_nothing_recorded_reads_so(tmp_path):
    record_file = write_run(tmp_path, some_results(), config=None, weights_sha256=None)
    next(tmp_path.glob("predictions_*")).unlink()
    section = provenance_section(read_run(record_file))
    rows = dict(section.parts[0].rows)
    assert {rows[name] for name in ("weights, SHA-256", "list of frames, hash", "training command")} == {NOT_RECORDED}
    assert section.parts[-1].words == "The settings are not recorded."


def test_settings_and_other_evaluations(tmp_path):
    record_file = write_run(tmp_path, some_results())
    write_run(tmp_path, some_results(), data="val")
    _, others, settings = provenance_section(read_run(record_file)).parts
    assert others.rows[0][0] == "lesions_split1_val"
    assert others.rows[0][-1].startswith("0.832 [")
    assert "name: lesions" in settings.text


def test_the_audits_verdict_and_this_splits_parts(tmp_path):
    record_file = write_run(tmp_path, some_results())
    write_surroundings(tmp_path, some_results())
    words, split, verdict, checks = data_section(read_run(record_file)).parts
    assert "4 frames, 4 true boxes" in words.words
    assert split.rows == [["train", "9", "90", "99"], ["test", "3", "4", "5"]]
    assert (verdict.words, verdict.is_warning) == ("Leakage and label audit: leak.", True)
    assert checks.rows == [["shared patients", "1", "LEAK"]]
    assert STEM not in str((words, split, verdict, checks))


def test_without_audit_and_table_it_says_so(tmp_path):
    _, split, audit = data_section(read_run(write_run(tmp_path, some_results()))).parts
    assert "not at hand" in split.words
    assert "not known" in audit.words
    assert audit.is_warning


def test_how_often_the_list_was_scored(tmp_path):
    record_file = write_run(tmp_path, some_results())
    files = read_run(record_file)
    assert "not known" in ledger_words(files)
    files.record["notes"].append("This list has been scored once, with one set of weights.")
    assert ledger_words(files).startswith("This list has been scored once")
    for weights in ("a", "b", "b"):
        note_scoring(tmp_path, files.about | {"weights_sha256": weights}, "x")
    assert ledger_words(read_run(record_file)).startswith("This list has been scored 3 times, with 2 different")
    assert "for choosing" in ledger_words(read_run(write_run(tmp_path, some_results(), data="val")))


def test_an_audit_without_checks(tmp_path):
    record_file = write_run(tmp_path, some_results())
    (tmp_path / "audit.json").write_text(json.dumps({"dataset": "lesions", "verdict": "passed"}))
    *_, words = data_section(read_run(record_file)).parts
    assert (words.words, words.is_warning) == ("Leakage and label audit: passed.", False)


def test_settings_do_not_name_the_frames_of_known_pairs(tmp_path):
    pairs = [{"frames": [f"{STEM}0", f"{STEM}1"], "reason": "the same"}]
    config = {"dataset": {"name": "lesions", "audit": {"known_pairs": pairs, "box_max": 0.9}}}
    settings = provenance_section(read_run(write_run(tmp_path, some_results(), config=config))).parts[-1]
    assert "known_pairs: 1, names left out" in settings.text
    assert "box_max: 0.9" in settings.text
    assert STEM not in settings.text
