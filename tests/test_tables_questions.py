"""The open questions: each run beside its partner, and when a difference is called one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from study_samples import SavedStudy

from data_utils.config.ablations import read_registry
from evaluation.paper.results import Study
from evaluation.paper.tables import ANSWER_COLUMNS, answers, difference_words, question_tables
from evaluation.statistics.bootstrap import Interval

REGISTRY = read_registry("configs/ablations.yaml")
CLEAR = Interval(0.05, 0.01, 0.09, 0.02, 0.08)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (None, ""),
        ((Interval(None), [0.1]), ""),
        ((Interval(0.1), [0.1]), "no interval"),
        ((Interval(0.01, -0.1, 0.1, -0.02, 0.03), [0.01] * 3), "no evidence of a difference (3 trainings a side)"),
        ((Interval(0.01, -0.1, 0.1, -0.02, 0.03), [0.01]), "no evidence of a difference (1 training a side)"),
        ((CLEAR, [0.04, 0.05, 0.06]), "higher (3 trainings a side)"),
        ((Interval(-0.05, -0.1, -0.01, -0.08, -0.02), [-0.04, -0.05, -0.06]), "lower (3 trainings a side)"),
        ((CLEAR, [0.2, -0.03, -0.02]), "not settled: 1 of 3 seeds (3 trainings a side)"),
        ((CLEAR, [0.05, 0.05]), "not settled: 2 of 2 seeds (2 trainings a side)"),
    ],
)
def test_what_a_difference_shows(difference: tuple[Interval, list[float]] | None, words: str) -> None:
    numbered = difference and (difference[0], dict(enumerate(difference[1])))
    assert difference_words(numbered)[1] == words


def test_the_difference_is_written_with_its_interval() -> None:
    assert difference_words((CLEAR, {0: 0.05}))[0] == "+0.050 [+0.020, +0.080]"
    nearly = Interval(0.05, 0.01, 0.09, 0.0003, 0.08)
    assert difference_words((nearly, {0: 0.05}))[0] == "+0.0500 [+0.0003, +0.0800]"
    touching = Interval(0.05, 0.01, 0.09, 0.0, 0.08)
    assert difference_words((touching, {0: 0.05}))[0] == "+0.050 [+0.000, +0.080] at the edge"


def test_a_group_is_shown_once_any_of_it_was_asked_for(tmp_path: Path) -> None:
    saved = SavedStudy(tmp_path)
    assert answers(Study(tmp_path, REGISTRY)) == {}
    saved.add("plain", (0, 1, 2), missed=0.7)
    saved.add("branch", (0, 1, 2))
    saved.lose("target_random", 0, "needs", "a disk")
    study = Study(tmp_path, REGISTRY)
    found = answers(study)
    tables = {table.title: table for table in question_tables(study, found)}
    assert list(tables) == ["What of the branch helps", "What the same compute buys without a branch"]
    table = tables["What of the branch helps"]
    rows = {row[0]: row for row in table.rows}
    assert next(iter(rows)) == "plain"
    assert rows["branch, against plain"][3] == "higher (3 trainings a side)"
    assert rows["target_random, against branch"][1] == "not run (b)"
    assert table.reasons[1] == "needs a disk"
    assert rows["plain"][-1] == "1.5"
    assert any("of twenty comparisons" in note for note in table.notes)
    own = [answer.as_row() for answer in found["What of the branch helps"]]
    assert all(set(row) == set(ANSWER_COLUMNS) for row in own)
    branch = next(row for row in own if (row["run"], row["measure"]) == ("branch", "ap50"))
    assert (branch["seeds"], branch["shows"], branch["seconds"]) == (3, "higher (3 trainings a side)", 90.0)
    by_seed = str(branch["by_seed"])  # "+0.1 -0.2" would be a formula for a spreadsheet
    assert re.fullmatch(r"seed 0 \+0\.\d{4}, seed 1 \+0\.\d{4}, seed 2 \+0\.\d{4}", by_seed)
    gone = next(row for row in own if row["run"] == "target_random")
    assert (gone["mean"], gone["difference"], gone["shows"], gone["why"]) == (None, None, "not run", "needs a disk")


def test_what_was_published_for_a_run_of_ones_own_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("runs: {mine: {paper: {ap50: 0.7, fps: 30}, note: x}, pretrain_coco: {}}\n")
    SavedStudy(tmp_path).add("mine")
    study = Study(tmp_path, read_registry(tmp_path / "a.yaml"))
    (table,) = question_tables(study, answers(study))
    assert table.notes[:2] == ["mine: x.", "mine: published ap50 0.7, fps 30."]
