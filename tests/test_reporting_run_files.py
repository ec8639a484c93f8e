"""Which evaluation a report is about, and what is read around it; what is torn or missing is said, never fatal."""

from __future__ import annotations

import json
import os

import pytest
from reported_run import some_results, write_panel, write_run, write_surroundings

from data_utils.errors import InputError
from evaluation.report.page import warnings
from evaluation.report.run_files import find_record, read_run
from evaluation.report.tables import data_section
from evaluation.scoring.ledger import note_scoring


def touch(folder, *names):
    for age, name in enumerate(reversed(names)):
        (folder / name).write_text("{}")
        os.utime(folder / name, (1e9 - age, 1e9 - age))


def test_the_test_list_comes_first_then_the_best_weights_then_the_newest(tmp_path):
    touch(tmp_path, "eval_best_a_split1_test.json", "eval_last_a_split1_test.json", "eval_best_a_split1_val.json")
    assert find_record(tmp_path).name == "eval_best_a_split1_test.json"
    assert find_record(tmp_path, "val").name == "eval_best_a_split1_val.json"
    assert find_record(tmp_path / "eval_last_a_split1_test.json").name == "eval_last_a_split1_test.json"
    with pytest.raises(InputError, match=r"--data ext: no eval_\*_ext.json .* there are eval_"):
        find_record(tmp_path, "ext")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no eval_\*.json"):
        find_record(tmp_path / "empty")


def test_of_equal_files_the_newest(tmp_path):
    touch(tmp_path, "eval_best_a_split1_val.json", "eval_best_b_split1_val.json")
    assert find_record(tmp_path).name == "eval_best_b_split1_val.json"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metrics": {"ap50": 1}}', "\x00"])
def test_what_is_no_evaluation_of_today_is_refused(tmp_path, text):
    (tmp_path / "eval_x_test.json").write_text(text)
    with pytest.raises(InputError, match=r"run evaluate\.py again"):
        read_run(tmp_path / "eval_x_test.json")


def test_everything_at_hand_is_read(tmp_path):
    record_file = write_run(tmp_path, some_results(), validation=some_results())
    write_surroundings(tmp_path, some_results())
    write_run(tmp_path, some_results(), data="ext")
    files = read_run(record_file)
    note_scoring(tmp_path, files.about, "python evaluate.py")
    note_scoring(tmp_path, files.about | {"weights_sha256": "other"}, "python other.py")
    (tmp_path / "test_ledger.jsonl").open("a").write("torn")
    files = read_run(record_file)
    assert files.stored is not None
    assert len(files.stored.results) == 4
    assert files.log["epoch"] == [1, 2, 3]
    assert files.panel == tmp_path / "panels" / "epoch_003.npz"
    assert files.audit["verdict"] == "leak"
    assert [row["frames"] for row in files.summary] == ["90", "4", "7777"]
    assert [record["data"] for record in files.others] == ["lesions_split1_ext"]
    assert files.scorings is not None
    assert (files.scorings.n_scorings, files.scorings.n_weights) == (2, 2)
    assert files.last_scoring["command"] == "python evaluate.py"
    assert files.problems == ["Torn lines of the training log that were left out: 1."]


def test_with_nothing_around_it_the_evaluation_is_still_read(tmp_path):
    record_file = write_run(tmp_path, some_results(), config=None)
    next(tmp_path.glob("predictions_*")).unlink()
    files = read_run(record_file)
    assert (files.stored, files.config, files.log, files.panel, files.audit, files.summary) == (
        None,
        {},
        {},
        None,
        {},
        [],
    )
    assert len(files.problems) == 1
    assert "missing or damaged" in files.problems[0]


def test_a_copy_of_the_weights_elsewhere_shows_the_training_they_name(tmp_path):
    record_file = write_run(tmp_path, some_results(), run="night")
    training = tmp_path / "runs" / "night"
    assert (read_run(record_file).log, read_run(record_file).audit_verdict) == ({}, "")
    write_panel(training / "panels" / "epoch_003.npz")
    (training / "log.csv").write_text("epoch,ap50\n1,0.1\n2,0.2\n")
    (training / "run.json").write_text(json.dumps({"dataset": "lesions", "audit": "passed", "started": "today"}))
    files = read_run(record_file)
    assert (files.log["epoch"], files.run["started"], files.audit_verdict) == ([1, 2], "today", "passed")
    assert files.panel == training / "panels" / "epoch_003.npz"
    *_, audit = data_section(files).parts
    assert (audit.words, audit.is_warning) == ("Leakage and label audit, before the training: passed.", False)
    assert not any("audit" in words for words in warnings(files))
    (training / "run.json").write_text(json.dumps({"dataset": "another", "audit": "passed"}))
    assert read_run(record_file).audit_verdict == ""


def test_an_audit_of_another_data_set_does_not_count(tmp_path):
    record_file = write_run(tmp_path, some_results())
    (tmp_path / "audit.json").write_text(json.dumps({"dataset": "other", "verdict": "passed"}))
    assert read_run(record_file).audit == {}


def test_an_unreadable_log_and_settings_of_the_run(tmp_path):
    record_file = write_run(tmp_path, some_results(), config=None)
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    (tmp_path / "config.yaml").write_text("dataset: {name: from_the_run}\n")
    (tmp_path / "run.json").write_text("{torn")
    files = read_run(record_file)
    assert files.dataset == {"name": "from_the_run"}
    assert files.run == {}
    assert any("training log cannot be drawn" in problem for problem in files.problems)
