"""The command `python -m evaluation.report ablations`: all tables and figures from saved results."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from study_samples import SavedStudy

from data_utils.errors import InputError
from evaluation.paper.tables import rewrite
from evaluation.report import text as report

WRITTEN = ["ablations.md", "ablations.csv", "ablations.tex", "ablations.html", "questions.csv", "trainings.csv"]


@pytest.fixture
def saved(tmp_path: Path) -> SavedStudy:
    """Some runs of the tables, one of them torn."""
    made = SavedStudy(tmp_path / "results")
    made.add("pretrain_coco", (0, 1), missed=0.2)
    made.add("sr_light", (0,))
    made.lose("sr_light", 1, "stopped", "disk full")
    torn = made.evaluation("pretrain_coco", 1).with_name("predictions_best_test.jsonl")
    torn.write_text(torn.read_text()[:-30])
    return made


def rows(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return {(row["table"], row["row"], row["column"]): row for row in csv.DictReader(file)}


def test_every_cell_says_how_it_stands(saved: SavedStudy, capsys: pytest.CaptureFixture) -> None:
    report.main(["ablations", "--results", str(saved.folder)])
    out = saved.folder / "tables"
    names = [*WRITTEN, "figure3.png", "figure5.png"]
    assert capsys.readouterr().out.splitlines() == [f"written: {out / name}" for name in names]
    cells = rows(out / "ablations.csv")
    assert len(cells) == 4 + 4 * 3 + 2 + 2 + 5 + 4 * 2 + 11 * 2
    assert cells["4", "COCO", "AP50"]["seeds"] == "2"
    assert cells["4", "COCO", "AP50"]["published"] == "0.77"
    assert cells["4", "COCO", "AP50"]["low"] == ""  # the torn file has lost a frame
    assert cells["7", "light", "AP50"]["verdict"] == "incomplete"
    assert "seed 1: stopped: disk full" in cells["7", "light", "AP50"]["why"]
    assert cells["8", "both COCO (SRE-YOLO)", "AP50"]["verdict"] == "not run"
    assert cells["10", "external, mean over sizes", "SRE-YOLO, AP50"]["published"].startswith("0.85")
    text = (out / "ablations.md").read_text(encoding="utf-8")
    assert "pretrain_coco, seed 1: predictions_best_test.jsonl: the last line is torn and was left out." in text
    assert "swaps this table's v5s" in text
    assert text.count("the last line is torn and was left out") == text.count("## Table") - 3  # once in 4, 5, 9 and 10
    assert "![Figure 3 (points are missing, see the tables)](figure3.png)" in text
    assert " nan" not in text.lower()


def test_a_run_that_two_groups_are_compared_with_is_one_row_of_the_answers(saved: SavedStudy) -> None:
    for run in ("plain", "branch", "plain_longer"):
        saved.add(run, (0,))
    out = saved.folder / "tables"
    rewrite(saved.folder, Path("configs/ablations.yaml"), out)
    with open(out / "questions.csv", encoding="utf-8", newline="") as file:
        found = [(row["run"], row["measure"]) for row in csv.DictReader(file)]
    assert ("plain", "ap50") in found
    assert len(found) == len(set(found))
    assert (out / "ablations.md").read_text(encoding="utf-8").count("\n| plain |") == 2  # a row in each group's table


def test_tables_9_and_10_stand_for_the_papers_set_and_side_or_on_request(tmp_path: Path) -> None:
    made = SavedStudy(tmp_path, dataset="mine", imgsz=128)
    made.add("pretrain_coco")
    made.add("sr_layers_48")
    command = ["ablations", "--results", str(tmp_path)]
    report.main(command)
    text = (tmp_path / "tables" / "ablations.md").read_text(encoding="utf-8")
    assert "## Table 4" in text
    assert not [line for line in text.splitlines() if line.startswith(("## Table 9", "## Table 10", "| SRE-YOLO |"))]
    assert "Tables 9 and 10 of the paper are left out" in text
    report.main([*command, "--all-tables"])
    text = (tmp_path / "tables" / "ablations.md").read_text(encoding="utf-8")
    assert "## Table 9" in text
    assert "## Table 10" in text


def test_the_same_results_give_the_same_bytes(saved: SavedStudy) -> None:
    registry, moved = Path("configs/ablations.yaml"), saved.folder.with_name("moved")
    first = {path.name: path.read_bytes() for path in rewrite(saved.folder, registry, saved.folder)}
    shutil.copytree(saved.folder, moved)
    again = {path.name: path.read_bytes() for path in rewrite(moved, registry, moved)}
    assert again == first


def test_a_registry_without_the_runs_of_a_table_still_gives_tables(saved: SavedStudy, tmp_path: Path) -> None:
    (tmp_path / "few.yaml").write_text("runs: {pretrain_coco: {tables: [4], paper: {ap50: 0.5}}}\n")
    out = rewrite(saved.folder, tmp_path / "few.yaml", tmp_path / "out")[1].parent
    cells = rows(out / "ablations.csv")
    assert cells["4", "COCO", "AP50"]["published"] == "0.5"
    assert cells["4", "HyperKvasir", "AP50"]["published"] == ""
    assert cells["4", "HyperKvasir", "AP50"]["why"] == "the registry has no such run"
    for name in ("ablations.md", "ablations.html"):  # a registry that was not named with --ablations is soon noticed
        assert "Not shown, because few.yaml does not name them: sr_light." in (out / name).read_text(encoding="utf-8")


def test_a_registry_of_ones_own_gets_no_tables_and_figures_of_the_paper(saved: SavedStudy, tmp_path: Path) -> None:
    saved.add("mine", (0, 1))
    registry = tmp_path / "own.yaml"
    registry.write_text("runs: {mine: {}, plain: {group: controls}, wider: {against: mine}}\n")
    names = [path.name for path in rewrite(saved.folder, registry, tmp_path / "out")]
    assert names == WRITTEN
    text = (tmp_path / "out" / "ablations.md").read_text(encoding="utf-8")
    assert text.startswith("# SRE-YOLO: the runs of own.yaml\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Other runs"]
    assert "\n| mine |" in text
    assert "\n| wider, against mine | not run" in text
    assert not rows(tmp_path / "out" / "ablations.csv")


def test_a_registry_of_which_nothing_was_begun_says_so(saved: SavedStudy, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("runs: {mine: {}}\n")
    page = rewrite(saved.folder, tmp_path / "own.yaml", tmp_path / "out")[3].read_text(encoding="utf-8")
    assert "No table: none of the runs that own.yaml names has been begun." in page
    assert "<table>" not in page


def test_a_mistyped_results_folder_is_one_line_and_stays_away(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"typo: no such folder; name the run\.results_dir"):
        rewrite(tmp_path / "typo", tmp_path / "any.yaml", tmp_path / "typo" / "tables")
    assert not (tmp_path / "typo").exists()


def test_a_missing_registry_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such config file"):
        rewrite(tmp_path, tmp_path / "none.yaml", tmp_path / "out")
