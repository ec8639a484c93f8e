"""The ledger grows by a line for each scoring, counts by list, and survives a torn line."""

from __future__ import annotations

import json

from evaluation.scoring.ledger import LEDGER, is_spent_by_scoring, note_scoring, scorings_of

ABOUT = {"data": "test", "list_sha256": "aaa", "weights_sha256": "w1", "config_sha256": "c1", "split": 1, "n_frames": 3}


def test_scorings_are_counted_by_list_and_weights(tmp_path):
    assert note_scoring(tmp_path, ABOUT, "evaluate").sentence() == (
        "This list has been scored once, with one set of weights."
    )
    note_scoring(tmp_path, ABOUT | {"list_sha256": "bbb"}, "evaluate")
    note_scoring(tmp_path, ABOUT | {"weights_sha256": "w2"}, "evaluate")
    scorings = note_scoring(tmp_path, ABOUT, "score again")
    assert (scorings.n_scorings, scorings.n_weights) == (3, 2)
    assert scorings.sentence() == "This list has been scored 3 times, with 2 different sets of weights."
    lines = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert [line["command"] for line in lines] == ["evaluate", "evaluate", "evaluate", "score again"]
    assert {"time", "config_sha256", "n_frames"} <= set(lines[0])


def test_a_torn_line_is_reported_and_the_next_is_whole(tmp_path):
    note_scoring(tmp_path, ABOUT, "one")
    with (tmp_path / LEDGER).open("a") as stream:
        stream.write('{"time": "20')
    scorings = note_scoring(tmp_path, ABOUT, "two")
    assert (scorings.n_scorings, scorings.n_torn) == (2, 1)
    assert "1 torn lines" in scorings.sentence()
    assert scorings_of(tmp_path / "none.jsonl", "aaa").n_scorings == 0


def test_validation_is_for_choosing_and_costs_nothing():
    assert [data for data in ("val", "train", "test", "test_healthy", "ext") if is_spent_by_scoring(data)] == [
        "test", "test_healthy", "ext",
    ]  # fmt: skip
