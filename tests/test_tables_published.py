"""The layout of the paper's tables, and that no number of the paper stands in two places that disagree."""

from __future__ import annotations

import pytest

from data_utils.config.ablations import read_registry
from evaluation.paper.published import TABLES, table_9, table_10
from evaluation.paper.results import MEASURES

REGISTRY = read_registry("configs/ablations.yaml")


def test_every_row_is_a_run_of_its_table_and_every_run_has_its_row() -> None:
    for table in TABLES:
        shown = {run for _, sources in table.rows for source in sources for run, _ in source}
        assert shown == {name for name, run in REGISTRY.items() if table.number in run.tables}
        assert all(len(sources) == len(table.groups) for _, sources in table.rows)
        measures = {measure for _, sources in table.rows for source in sources for _, measure in source}
        assert measures <= set(MEASURES)
        assert all(measure in REGISTRY[run].paper for _, rows in table.rows for row in rows for run, measure in row)


def test_the_registry_agrees_with_the_values_that_evaluate_shows() -> None:
    names = {"YOLOv8n": "pretrain_coco", "SR 4-8 light": "sr_light", "SR 2-6 deep": "sr_layers_26",
             "SRE-YOLO": "sr_layers_48"}  # fmt: skip
    for model, values in table_9().items():
        paper = REGISTRY[names[model]].paper
        assert (paper["ext_small"], paper["ext_medium"]) == values
    splits = {"YOLOv8n": ("pretrain_coco", "plain_split2", "plain_split3"),
              "SRE-YOLO": ("sr_layers_48", "sre_yolo_split2", "sre_yolo_split3")}  # fmt: skip
    for model, by_split in table_10().items():
        papers = [REGISTRY[run].paper for run in splits[model]]
        assert [(p["ap50"], p["ext_small"], p["ext_medium"]) for p in papers] == [by_split[k] for k in (1, 2, 3)]


def test_the_published_means_follow_from_the_rows() -> None:
    table = next(table for table in TABLES if table.number == 10)
    means = dict(table.rows[-2:])
    found = [
        sum(REGISTRY[run].paper[measure] for run, measure in source) / len(source)  # pyright: ignore[reportArgumentType]
        for sources in means.values()
        for source in sources
    ]
    assert found == pytest.approx([0.79, 0.82, 0.80, 0.86], abs=0.005)


@pytest.mark.parametrize(
    ("number", "words"),
    [(5, "swaps"), (5, "another architecture"), (9, "15 points"), (9, "light decoder"), (10, "0.80 against 0.86")],
)
def test_contradictions_are_footnotes(number: int, words: str) -> None:
    table = next(table for table in TABLES if table.number == number)
    assert any(words in note for note in table.notes)
